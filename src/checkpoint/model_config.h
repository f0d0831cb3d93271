// ModelConfig: what config.json says of a decoder, in this house's names. Hugging Face's field names appear only in the
// .cc. A field that would change the result and is not supported is refused by name, never ignored.
// Source: transformers configuration_{mistral,llama,qwen2,qwen3}.py, v4 and v5 spellings; GGUF keys of llama.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/quantization_config.h"

namespace updraft::checkpoint {

enum class Architecture : uint8_t { kLlama, kMistral, kQwen2, kQwen3 };
enum class RopeKind : uint8_t { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope };

// transformers modeling_rope_utils.py; fields that a kind does not use keep their defaults.
struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000;
  double factor = 1;
  int64_t original_context = 0;            // original_max_position_embeddings; 0: the model's max_context
  double beta_fast = 32, beta_slow = 1;    // yarn
  std::optional<double> attention_factor;  // yarn, longrope
  std::optional<double> mscale, mscale_all_dim;
  bool truncate = true;                                        // yarn: floor and ceil the ramp's ends
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  std::vector<double> short_factor, long_factor;               // longrope
};

struct ModelConfig {
  Architecture architecture = Architecture::kMistral;
  std::string architecture_name;  // "MistralForCausalLM"
  int hidden_size = 0;
  int intermediate_size = 0;
  int layers = 0;
  int query_heads = 0;
  int key_value_heads = 0;
  int head_dim = 0;
  int vocabulary_size = 0;
  int64_t max_context = 0;  // max_position_embeddings
  float norm_epsilon = 1e-6f;
  RopeConfig rope;
  std::vector<int> windows;  // per layer; 0: full attention
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;
  bool query_key_norm = false;                     // Qwen3
  std::optional<DType> dtype;                      // torch_dtype / dtype, where the file says one of ours
  std::optional<QuantizationConfig> quantization;  // how the file's own weights are quantized
  std::vector<int32_t> bos_ids, eos_ids, pad_ids;  // as written; often overridden by generation_config.json

  int64_t parameters() const;  // counted from the shapes
};

// `where` names the file in error messages.
ModelConfig parse_model_config(const nlohmann::json&, const std::string& where);
// The config.json (v4 spelling) of a config: what `--synthetic ... --write` writes.
nlohmann::json to_json(const ModelConfig&, DType);

}  // namespace updraft::checkpoint
