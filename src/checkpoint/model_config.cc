#include "checkpoint/model_config.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "checkpoint/model_config_fields.h"

namespace updraft::checkpoint {

using nlohmann::json;

namespace {

// A decoder family and what its transformers configuration class takes where config.json is silent.
struct Family {
  Architecture architecture;
  const char* model_type;
  const char* class_name;
  int64_t vocabulary_size, intermediate_size;
  int64_t key_value_heads;  // 0: as many as query heads
  int64_t head_dim;         // 0: hidden_size / num_attention_heads
  int64_t max_context;
  int32_t bos_id, eos_id;  // -1: none
};

constexpr Family kFamilies[] = {
    {Architecture::kLlama, "llama", "LlamaForCausalLM", 32000, 11008, 0, 0, 2048, 1, 2},
    {Architecture::kMistral, "mistral", "MistralForCausalLM", 32000, 14336, 8, 0, 131072, 1, 2},
    {Architecture::kQwen2, "qwen2", "Qwen2ForCausalLM", 151936, 22016, 32, 0, 32768, -1, -1},
    {Architecture::kQwen3, "qwen3", "Qwen3ForCausalLM", 151936, 22016, 32, 128, 32768, -1, -1},
};

constexpr int64_t kDefaultWindow = 4096;  // of Mistral's, Qwen2's and Qwen3's configuration classes

const Family* family_by_type(const std::string& model_type) {
  for (const Family& family : kFamilies)
    if (model_type == family.model_type) return &family;
  return nullptr;
}

const Family* family_by_class(const std::string& class_name) {
  for (const Family& family : kFamilies)
    if (class_name == family.class_name) return &family;
  return nullptr;
}

const Family& read_family(const JsonFields& config, const std::string& where) {
  constexpr const char* kKnown =
      "the known ones are llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2 (Qwen2ForCausalLM) and qwen3 "
      "(Qwen3ForCausalLM)";
  const Family* by_type = nullptr;
  if (const auto model_type = config.text("model_type")) {
    by_type = family_by_type(*model_type);
    if (by_type == nullptr) config.refuse("model_type", kKnown);
  }
  const json* architectures = config.find("architectures");
  if (architectures == nullptr || architectures->empty()) {
    if (by_type == nullptr)
      fail("{}: has neither model_type nor architectures, so the decoder is unknown; {}.", where, kKnown);
    return *by_type;
  }
  const bool one_name = architectures->is_array() && architectures->size() == 1 && architectures->front().is_string();
  if (!one_name) config.refuse("architectures", "a list of one name is needed");
  const Family* by_class = family_by_class(architectures->front().get<std::string>());
  if (by_class == nullptr) config.refuse("architectures", kKnown);
  if (by_type != nullptr && by_type != by_class) config.refuse("architectures", "model_type names another decoder");
  return *by_class;
}

void read_sizes(const JsonFields& file, const Family& family, const std::string& where, ModelConfig& config) {
  const auto size = [&](const char* key, int64_t value_if_absent, int64_t largest) {
    return int(file.integer(key, 1, largest).value_or(value_if_absent));
  };
  config.hidden_size = size("hidden_size", 4096, kLargestHidden);
  config.intermediate_size = size("intermediate_size", family.intermediate_size, kLargestIntermediate);
  config.layers = size("num_hidden_layers", 32, kLargestLayers);
  config.query_heads = size("num_attention_heads", 32, kLargestHeads);
  // Null says "as many as query heads" whatever the class's own number.
  const int64_t heads_if_absent =
      family.key_value_heads == 0 || file.is_null("num_key_value_heads") ? config.query_heads : family.key_value_heads;
  config.key_value_heads = size("num_key_value_heads", heads_if_absent, kLargestHeads);
  if (config.query_heads % config.key_value_heads != 0)
    fail("{}: num_attention_heads ({}) is not a multiple of num_key_value_heads ({}).", where, config.query_heads,
         config.key_value_heads);
  config.vocabulary_size = size("vocab_size", family.vocabulary_size, kLargestVocabulary);
  config.max_context = file.integer("max_position_embeddings", 1, kLargestContext).value_or(family.max_context);
  config.norm_epsilon = float(file.number("rms_norm_eps", 1e-20, 1).value_or(1e-6));

  int64_t head_dim = file.is_null("head_dim") ? 0 : family.head_dim;
  if (const auto written = file.integer("head_dim", 1, kLargestHeadDim)) head_dim = *written;
  if (head_dim == 0) {
    if (config.hidden_size % config.query_heads != 0)
      fail("{}: hidden_size ({}) is not a multiple of num_attention_heads ({}), and head_dim is not given.", where,
           config.hidden_size, config.query_heads);
    head_dim = config.hidden_size / config.query_heads;
  }
  if (head_dim % 2 != 0 || head_dim > kLargestHeadDim)
    fail("{}: a head has {} values, but RoPE needs an even number, at most {}.", where, head_dim, kLargestHeadDim);
  config.head_dim = int(head_dim);
}

// layer_types, checked; empty when the file does not say. true: the layer's attention slides.
std::vector<bool> read_layer_types(const JsonFields& file, int layers) {
  std::vector<bool> sliding;
  const json* types = file.find("layer_types");
  if (types == nullptr) return sliding;
  if (!types->is_array() || int(types->size()) != layers)
    file.refuse("layer_types", fmt::format("a list of {} names is needed, one to a layer", layers));
  for (const json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention")
      file.refuse("layer_types", "only full_attention and sliding_attention are supported");
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

std::vector<int> read_windows(const JsonFields& file, const Family& family, int layers) {
  std::vector<int> windows(size_t(layers), 0);
  const std::vector<bool> sliding = read_layer_types(file, layers);
  const bool qwen = family.architecture == Architecture::kQwen2 || family.architecture == Architecture::kQwen3;
  int64_t window = 0;
  if (family.architecture == Architecture::kMistral || (qwen && file.boolean("use_sliding_window").value_or(false))) {
    const int64_t if_absent = file.is_null("sliding_window") ? 0 : kDefaultWindow;
    window = file.integer("sliding_window", 1, kLargestContext).value_or(if_absent);
  }
  const int64_t first_sliding = qwen ? file.integer("max_window_layers", 0, kLargestLayers).value_or(28) : 0;
  for (int layer = 0; layer < layers; ++layer) {
    bool slides = window > 0 && layer >= first_sliding;
    if (!sliding.empty()) {
      if (qwen && window > 0) slides = sliding[size_t(layer)];
      if (slides != sliding[size_t(layer)])
        file.refuse("layer_types", "it contradicts the model's sliding_window and use_sliding_window");
    }
    if (slides) windows[size_t(layer)] = int(window);
  }
  return windows;
}

void read_biases(const JsonFields& file, Architecture architecture, ModelConfig& config) {
  const bool attention_bias = file.boolean("attention_bias").value_or(false);
  const bool switchable = architecture == Architecture::kLlama || architecture == Architecture::kQwen3;
  config.qkv_bias = architecture == Architecture::kQwen2 || (switchable && attention_bias);
  config.attention_output_bias = switchable && attention_bias;
  config.mlp_bias = architecture == Architecture::kLlama && file.boolean("mlp_bias").value_or(false);
  config.query_key_norm = architecture == Architecture::kQwen3;
}

std::optional<DType> read_dtype(const JsonFields& file) {
  const json* value = file.find(file.has("dtype") ? "dtype" : "torch_dtype");
  if (value == nullptr || !value->is_string()) return std::nullopt;
  std::string type = value->get<std::string>();
  if (type.starts_with("torch.")) type.erase(0, 6);
  if (type == "float32") return DType::kF32;
  if (type == "float16" || type == "half") return DType::kF16;
  if (type == "bfloat16") return DType::kBF16;
  return std::nullopt;
}

std::vector<int32_t> ids_or(const JsonFields& file, const char* key, int32_t if_absent) {
  if (file.has(key) || file.is_null(key) || if_absent < 0) return file.ids(key);
  return {if_absent};
}

json ids_to_json(const std::vector<int32_t>& ids) {
  if (ids.empty()) return nullptr;
  if (ids.size() == 1) return ids[0];
  return ids;
}

const char* torch_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
  }
  return "?";
}

void windows_to_json(const ModelConfig& config, json& file) {
  const int window = config.windows.empty() ? 0 : *std::max_element(config.windows.begin(), config.windows.end());
  if (config.architecture == Architecture::kLlama) return;
  file["sliding_window"] = window > 0 ? json(window) : json(nullptr);
  if (config.architecture == Architecture::kMistral) return;
  file["use_sliding_window"] = window > 0;
  if (window == 0) return;
  json types = json::array();
  for (const int each : config.windows) types.push_back(each > 0 ? "sliding_attention" : "full_attention");
  file["layer_types"] = types;
}

}  // namespace

ModelConfig parse_model_config(const json& object, const std::string& where) {
  const JsonFields file(object, where);
  const Family& family = read_family(file, where);
  refuse_unsupported_fields(file, family.architecture);
  ModelConfig config;
  config.architecture = family.architecture;
  config.architecture_name = family.class_name;
  read_sizes(file, family, where, config);
  config.rope = parse_rope(file, config.head_dim, config.max_context, where);
  config.windows = read_windows(file, family, config.layers);
  config.tied_embeddings = file.boolean("tie_word_embeddings").value_or(false);
  read_biases(file, family.architecture, config);
  config.dtype = read_dtype(file);
  if (const json* quantized = file.find("quantization_config"); quantized != nullptr && !quantized->empty())
    config.quantization = parse_quantization_config(*quantized, where + ": quantization_config");
  config.bos_ids = ids_or(file, "bos_token_id", family.bos_id);
  config.eos_ids = ids_or(file, "eos_token_id", family.eos_id);
  config.pad_ids = file.ids("pad_token_id");
  return config;
}

int64_t ModelConfig::parameters() const {
  const int64_t hidden = hidden_size, query = int64_t(query_heads) * head_dim,
                shared = int64_t(key_value_heads) * head_dim;
  int64_t layer = 2 * hidden;                               // the two norms
  layer += hidden * (query + 2 * shared) + query * hidden;  // q, k, v, output
  layer += 3 * hidden * int64_t(intermediate_size);         // gate, up, down
  if (qkv_bias) layer += query + 2 * shared;
  if (attention_output_bias) layer += hidden;
  if (mlp_bias) layer += 2 * int64_t(intermediate_size) + hidden;
  if (query_key_norm) layer += 2 * int64_t(head_dim);
  const int64_t tables = (tied_embeddings ? 1 : 2) * int64_t(vocabulary_size) * hidden;
  return layer * layers + tables + hidden;
}

json to_json(const ModelConfig& config, DType dtype) {
  json file = {{"bos_token_id", ids_to_json(config.bos_ids)},
               {"eos_token_id", ids_to_json(config.eos_ids)},
               {"head_dim", config.head_dim},
               {"hidden_act", "silu"},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"max_position_embeddings", config.max_context},
               {"num_attention_heads", config.query_heads},
               {"num_hidden_layers", config.layers},
               {"num_key_value_heads", config.key_value_heads},
               {"rms_norm_eps", config.norm_epsilon},
               {"rope_scaling", rope_to_json(config.rope)},
               {"rope_theta", config.rope.theta},
               {"tie_word_embeddings", config.tied_embeddings},
               {"torch_dtype", torch_name(dtype)},
               {"use_cache", true},
               {"vocab_size", config.vocabulary_size}};
  for (const Family& family : kFamilies) {
    if (family.architecture != config.architecture) continue;
    file["architectures"] = {family.class_name};
    file["model_type"] = family.model_type;
  }
  if (!config.pad_ids.empty()) file["pad_token_id"] = ids_to_json(config.pad_ids);
  if (config.architecture == Architecture::kLlama) file["mlp_bias"] = config.mlp_bias;
  if (config.architecture == Architecture::kLlama || config.architecture == Architecture::kQwen3)
    file["attention_bias"] = config.qkv_bias;
  windows_to_json(config, file);
  return file;
}

}  // namespace updraft::checkpoint
