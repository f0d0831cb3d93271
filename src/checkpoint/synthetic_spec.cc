// parse_synthetic: "mistral-7b", "mistral-7b:layers=4,vocabulary=1000" or the path of a config.json (also with
// ":layers=4"), as SyntheticOptions. The shapes of the known models are those of their published config.json files.
#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/strict_json.h"

namespace updraft::checkpoint {
namespace {

struct KnownModel {
  std::string_view name;
  Architecture architecture;
  const char* architecture_name;
  int hidden, intermediate, layers, query_heads, key_value_heads, head_dim, vocabulary;
  int64_t context;
  float epsilon;
  double theta;
  bool tied;
  int bos, eos;
};

constexpr auto kMistral = Architecture::kMistral;
constexpr auto kLlama = Architecture::kLlama;
constexpr auto kQwen2 = Architecture::kQwen2;
constexpr auto kQwen3 = Architecture::kQwen3;
constexpr std::array<KnownModel, 8> kKnownModels = {{
    {"mistral-7b", kMistral, "MistralForCausalLM", 4096, 14336, 32, 32, 8, 128, 32000, 32768, 1e-5f, 1e6, false, 1, 2},
    {"llama-2-7b", kLlama, "LlamaForCausalLM", 4096, 11008, 32, 32, 32, 128, 32000, 4096, 1e-5f, 1e4, false, 1, 2},
    {"llama-3-8b", kLlama, "LlamaForCausalLM", 4096, 14336, 32, 32, 8, 128, 128256, 8192, 1e-5f, 5e5, false, 128000,
     128001},
    {"qwen2-0.5b", kQwen2, "Qwen2ForCausalLM", 896, 4864, 24, 14, 2, 64, 151936, 32768, 1e-6f, 1e6, true, 151643,
     151643},
    {"qwen2-7b", kQwen2, "Qwen2ForCausalLM", 3584, 18944, 28, 28, 4, 128, 152064, 32768, 1e-6f, 1e6, false, 151643,
     151643},
    {"qwen3-8b", kQwen3, "Qwen3ForCausalLM", 4096, 12288, 36, 32, 8, 128, 151936, 40960, 1e-6f, 1e6, false, 151643,
     151645},
    {"smollm2-135m", kLlama, "LlamaForCausalLM", 576, 1536, 30, 9, 3, 64, 49152, 8192, 1e-5f, 1e5, true, 1, 2},
    {"tiny", kMistral, "MistralForCausalLM", 64, 160, 2, 4, 2, 16, 512, 1024, 1e-5f, 1e4, false, 1, 2},
}};

ModelConfig config_of(const KnownModel& model) {
  ModelConfig config;
  config.architecture = model.architecture;
  config.architecture_name = model.architecture_name;
  config.hidden_size = model.hidden;
  config.intermediate_size = model.intermediate;
  config.layers = model.layers;
  config.query_heads = model.query_heads;
  config.key_value_heads = model.key_value_heads;
  config.head_dim = model.head_dim;
  config.vocabulary_size = model.vocabulary;
  config.max_context = model.context;
  config.norm_epsilon = model.epsilon;
  config.rope.theta = model.theta;
  config.windows.assign(size_t(model.layers), 0);
  config.tied_embeddings = model.tied;
  config.qkv_bias = model.architecture == Architecture::kQwen2;
  config.query_key_norm = model.architecture == Architecture::kQwen3;
  config.dtype = DType::kBF16;
  config.bos_ids = {model.bos};
  config.eos_ids = {model.eos};
  return config;
}

std::string known_names() {
  std::string names;
  for (const KnownModel& model : kKnownModels) names += (names.empty() ? "" : ", ") + std::string(model.name);
  return names;
}

constexpr const char* kOverrides = "layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary, context";

int64_t parse_number(const std::string& spec, std::string_view key, std::string_view text, int64_t limit) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > limit)
    fail("--synthetic {}: {} must be a whole number from 1 to {}.", spec, key, limit);
  return value;
}

void apply_override(const std::string& spec, std::string_view item, ModelConfig& config) {
  constexpr int64_t kWidth = 1 << 22, kCount = 1 << 16;
  const size_t equals = item.find('=');
  const std::string_view key = item.substr(0, equals);
  const std::string_view text = equals == std::string_view::npos ? "" : item.substr(equals + 1);
  const auto number = [&](int64_t limit) { return parse_number(spec, key, text, limit); };
  if (key == "layers") {
    const int window = config.windows.empty() ? 0 : config.windows.back();
    config.layers = int(number(kCount));
    config.windows.resize(size_t(config.layers), window);
  } else if (key == "hidden") {
    config.hidden_size = int(number(kWidth));
  } else if (key == "intermediate") {
    config.intermediate_size = int(number(kWidth));
  } else if (key == "heads") {
    config.query_heads = int(number(kCount));
  } else if (key == "kv_heads") {
    config.key_value_heads = int(number(kCount));
  } else if (key == "head_dim") {
    config.head_dim = int(number(kCount));
  } else if (key == "vocabulary") {
    config.vocabulary_size = int(number(1 << 28));
  } else if (key == "context") {
    config.max_context = number(int64_t(1) << 40);
  } else {
    fail("--synthetic {}: there is no setting \"{}\"; settings are {}.", spec, key, kOverrides);
  }
}

void check_config(const std::string& spec, ModelConfig& config) {
  if (config.query_heads % config.key_value_heads != 0)
    fail("--synthetic {}: {} query heads are not a multiple of {} key/value heads; set heads and kv_heads.", spec,
         config.query_heads, config.key_value_heads);
  if (config.head_dim % 2 != 0) fail("--synthetic {}: head_dim must be even.", spec);
  for (std::vector<int32_t>* ids : {&config.bos_ids, &config.eos_ids, &config.pad_ids})
    ids->erase(std::remove_if(ids->begin(), ids->end(), [&](int32_t id) { return id >= config.vocabulary_size; }),
               ids->end());
}

// The config of a known name or of a config.json (or the folder that holds one); false: it is neither.
bool find_config(const std::string& name, ModelConfig& config) {
  for (const KnownModel& model : kKnownModels)
    if (model.name == name) {
      config = config_of(model);
      return true;
    }
  std::filesystem::path path = name;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path /= "config.json";
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  config = parse_model_config(parse_json(read_text_file(path), path.string()), path.string());
  return true;
}

}  // namespace

SyntheticOptions parse_synthetic(const std::string& spec) {
  SyntheticOptions options;
  std::string_view overrides;
  if (!find_config(spec, options.config)) {
    const size_t colon = spec.rfind(':');
    const bool found = colon != std::string::npos && find_config(spec.substr(0, colon), options.config);
    if (!found)
      fail(
          "{}: there is neither a file nor a known model of this name; known names are {}, each also with settings as "
          "in "
          "mistral-7b:layers=4; or name a config.json.",
          spec, known_names());
    overrides = std::string_view(spec).substr(colon + 1);
  }
  while (!overrides.empty()) {
    const size_t comma = std::min(overrides.find(','), overrides.size());
    apply_override(spec, overrides.substr(0, comma), options.config);
    overrides.remove_prefix(std::min(comma + 1, overrides.size()));
  }
  check_config(spec, options.config);
  options.dtype = options.config.dtype.value_or(DType::kBF16);
  return options;
}

}  // namespace updraft::checkpoint
