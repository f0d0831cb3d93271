#include "checkpoint/model_config_fields.h"

namespace updraft::checkpoint {

using nlohmann::json;

namespace {

// Fields of other decoders, and the one value besides null, false, 0 and empty that leaves our arithmetic unchanged.
struct Foreign {
  const char* key;
  const char* what;
  std::optional<double> neutral = std::nullopt;
};

constexpr const char* kExperts = "mixtures of experts are not supported";
constexpr const char* kSoftcap = "soft-capped logits are not supported";
constexpr const char* kMultiplier = "scaled embeddings, residuals, scores or logits are not supported";
constexpr const char* kPositions = "positions other than RoPE over whole heads in every layer are not supported";

const Foreign kForeign[] = {
    {"text_config", "models of more than text are not supported"},
    {"vision_config", "models of more than text are not supported"},
    {"audio_config", "models of more than text are not supported"},
    {"is_encoder_decoder", "only decoders are supported"},
    {"add_cross_attention", "only decoders are supported"},
    {"num_local_experts", kExperts},
    {"num_experts", kExperts},
    {"n_routed_experts", kExperts},
    {"num_experts_per_tok", kExperts},
    {"moe_intermediate_size", kExperts},
    {"attn_logit_softcapping", kSoftcap},
    {"final_logit_softcapping", kSoftcap},
    {"logit_softcapping", kSoftcap},
    {"logits_soft_cap", kSoftcap},
    {"query_pre_attn_scalar", kMultiplier},
    {"attention_multiplier", kMultiplier},
    {"embedding_multiplier", kMultiplier, 1},
    {"residual_multiplier", kMultiplier, 1},
    {"logits_scaling", kMultiplier, 1},
    {"logit_scale", kMultiplier, 1},
    {"scale_emb", kMultiplier, 1},
    {"scale_depth", kMultiplier},
    {"dim_model_base", kMultiplier},
    {"lm_head_multiplier", kMultiplier, 1},
    {"clip_qkv", "clipped queries, keys and values are not supported"},
    {"partial_rotary_factor", kPositions, 1},
    {"rotary_pct", kPositions, 1},
    {"alibi", kPositions},
    {"no_rope_layers", kPositions},
    {"no_rope_layer_interval", kPositions},
    {"rope_interleave", kPositions},
    {"rope_interleaved", kPositions},
    {"rope_local_base_freq", kPositions},
    {"use_mrope", kPositions},
    {"attention_chunk_size", "attention in chunks is not supported"},
    {"sliding_window_pattern", "a pattern of windows is supported as layer_types only"},
    {"parallel_attn", "attention beside the MLP is not supported"},
    {"use_parallel_residual", "attention beside the MLP is not supported"},
    {"use_qk_norm", "norms on queries and keys are supported for Qwen3 only"},
    {"qk_norm", "norms on queries and keys are supported for Qwen3 only"},
    {"qk_layernorm", "norms on queries and keys are supported for Qwen3 only"},
    {"pruned_heads", "pruned heads are not supported"},
};

}  // namespace

void refuse_unsupported_fields(const JsonFields& config, Architecture architecture) {
  for (const Foreign& field : kForeign) {
    const json* value = config.find(field.key);
    if (value != nullptr && !is_neutral(*value, field.neutral)) config.refuse(field.key, field.what);
  }
  for (const char* key : {"hidden_act", "hidden_activation"}) {
    const std::optional<std::string> activation = config.text(key);
    if (activation && *activation != "silu" && *activation != "swish") config.refuse(key, "only silu is supported");
  }
  const bool llama = architecture == Architecture::kLlama;
  if (!llama && config.boolean("mlp_bias").value_or(false))
    config.refuse("mlp_bias", "biases in the MLP are supported for Llama only");
  if (architecture == Architecture::kMistral && config.boolean("attention_bias").value_or(false))
    config.refuse("attention_bias", "Mistral's attention has no biases");
}

}  // namespace updraft::checkpoint
