#include "checkpoint/decoder_tensors.h"

#include <fmt/format.h>

#include <utility>

namespace updraft::checkpoint {
namespace {

void add_layer(const ModelConfig& config, int layer, std::vector<DecoderTensor>& tensors) {
  const int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
  const int64_t query = int64_t(config.query_heads) * config.head_dim;
  const int64_t key_value = int64_t(config.key_value_heads) * config.head_dim;
  const auto add = [&](const char* part, std::vector<int64_t> shape) {
    tensors.push_back({fmt::format("model.layers.{}.{}", layer, part), std::move(shape)});
  };
  add("input_layernorm.weight", {hidden});
  add("self_attn.q_proj.weight", {query, hidden});
  add("self_attn.k_proj.weight", {key_value, hidden});
  add("self_attn.v_proj.weight", {key_value, hidden});
  if (config.qkv_bias) {
    add("self_attn.q_proj.bias", {query});
    add("self_attn.k_proj.bias", {key_value});
    add("self_attn.v_proj.bias", {key_value});
  }
  if (config.query_key_norm) {
    add("self_attn.q_norm.weight", {config.head_dim});
    add("self_attn.k_norm.weight", {config.head_dim});
  }
  add("self_attn.o_proj.weight", {hidden, query});
  if (config.attention_output_bias) add("self_attn.o_proj.bias", {hidden});
  add("post_attention_layernorm.weight", {hidden});
  add("mlp.gate_proj.weight", {intermediate, hidden});
  add("mlp.up_proj.weight", {intermediate, hidden});
  add("mlp.down_proj.weight", {hidden, intermediate});
  if (config.mlp_bias) {
    add("mlp.gate_proj.bias", {intermediate});
    add("mlp.up_proj.bias", {intermediate});
    add("mlp.down_proj.bias", {hidden});
  }
}

}  // namespace

std::vector<DecoderTensor> decoder_tensors(const ModelConfig& config) {
  std::vector<DecoderTensor> tensors;
  tensors.push_back({"model.embed_tokens.weight", {config.vocabulary_size, config.hidden_size}});
  for (int layer = 0; layer < config.layers; ++layer) add_layer(config, layer, tensors);
  tensors.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tied_embeddings) tensors.push_back({"lm_head.weight", {config.vocabulary_size, config.hidden_size}});
  return tensors;
}

}  // namespace updraft::checkpoint
