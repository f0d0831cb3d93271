#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "checkpoint/gguf_keys.h"

namespace updraft::checkpoint {
namespace {

constexpr int64_t kMaxWidth = 1 << 22;  // hidden and intermediate sizes
constexpr int64_t kMaxCount = 1 << 16;  // layers, heads, head_dim
constexpr int64_t kMaxContext = int64_t(1) << 40;
constexpr int64_t kNoToken = UINT32_MAX;  // how some writers say that there is no such token

// Keys of an architecture ("llama." removed) that are read below, or that say nothing about the computation.
constexpr std::array<std::string_view, 26> kKnownKeys = {"context_length",
                                                         "embedding_length",
                                                         "block_count",
                                                         "feed_forward_length",
                                                         "attention.head_count",
                                                         "attention.head_count_kv",
                                                         "attention.key_length",
                                                         "attention.value_length",
                                                         "attention.layer_norm_rms_epsilon",
                                                         "attention.sliding_window",
                                                         "attention.causal",
                                                         "rope.freq_base",
                                                         "rope.dimension_count",
                                                         "rope.scale_linear",
                                                         "rope.scaling.type",
                                                         "rope.scaling.factor",
                                                         "rope.scaling.original_context_length",
                                                         "rope.scaling.attn_factor",
                                                         "rope.scaling.yarn_ext_factor",
                                                         "rope.scaling.yarn_attn_factor",
                                                         "rope.scaling.yarn_beta_fast",
                                                         "rope.scaling.yarn_beta_slow",
                                                         "rope.scaling.finetuned",
                                                         "vocab_size",
                                                         "tensor_data_layout",
                                                         "pooling_type"};

// 0, false and "" switch a feature off in every key there is: files write them for features they do not use.
bool is_off(const GgufValue& value) {
  if (const auto* boolean = std::get_if<bool>(&value)) return !*boolean;
  if (const auto* integer = std::get_if<int64_t>(&value)) return *integer == 0;
  if (const auto* number = std::get_if<double>(&value)) return *number == 0;
  const auto* text = std::get_if<std::string>(&value);
  return text != nullptr && text->empty();
}

// The keys of one file under its architecture's prefix.
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, const std::string& where, GgufVectorReader read_vector)
      : file_(file), keys_(file, where), where_(where), read_vector_(read_vector) {}

  ModelConfig read() {
    read_architecture();
    refuse_unknown_keys();
    read_shape();
    read_tensor_flags();
    read_window();
    read_rope();
    return config_;
  }

 private:
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }

  void read_architecture() {
    const std::string name = keys_.string("general.architecture").value_or("");
    if (name == "llama") {
      config_.architecture = Architecture::kLlama, config_.architecture_name = "LlamaForCausalLM";
    } else if (name == "qwen2") {
      config_.architecture = Architecture::kQwen2, config_.architecture_name = "Qwen2ForCausalLM";
    } else if (name == "qwen3") {
      config_.architecture = Architecture::kQwen3, config_.architecture_name = "Qwen3ForCausalLM";
    } else {
      fail("{}: general.architecture is \"{}\"; supported are llama (Llama and Mistral), qwen2 and qwen3.", where_,
           name);
    }
    prefix_ = name + ".";
    if (keys_.integer("split.count").value_or(1) > 1)
      fail("{}: this is one part of a split GGUF file (split.count); merge the parts with gguf-split --merge first.",
           where_);
    if (keys_.string("general.type").value_or("model") != "model")
      fail("{}: general.type is \"{}\"; only a whole model can be run.", where_, *keys_.string("general.type"));
  }

  void refuse_unknown_keys() const {
    for (const auto& [full_key, value] : file_.values) {
      if (full_key.compare(0, prefix_.size(), prefix_) != 0) continue;
      const std::string_view name = std::string_view(full_key).substr(prefix_.size());
      if (std::find(kKnownKeys.begin(), kKnownKeys.end(), name) != kKnownKeys.end() || is_off(value)) continue;
      fail("{}: key {} is not supported, and ignoring it would change the result.", where_, full_key);
    }
    if (!keys_.boolean(key("attention.causal")).value_or(true))
      fail("{}: key {} is false; only causal decoders are supported.", where_, key("attention.causal"));
  }

  void read_shape() {
    config_.max_context = keys_.dimension(key("context_length"), kMaxContext);
    config_.hidden_size = int(keys_.dimension(key("embedding_length"), kMaxWidth));
    config_.layers = int(keys_.dimension(key("block_count"), kMaxCount));
    config_.intermediate_size = int(keys_.dimension(key("feed_forward_length"), kMaxWidth));
    config_.query_heads = int(keys_.dimension(key("attention.head_count"), kMaxCount));
    config_.key_value_heads = config_.query_heads;
    if (keys_.find(key("attention.head_count_kv")) != nullptr)
      config_.key_value_heads = int(keys_.dimension(key("attention.head_count_kv"), kMaxCount));
    if (config_.query_heads % config_.key_value_heads != 0)
      fail("{}: {} ({}) is not a multiple of {} ({}).", where_, key("attention.head_count"), config_.query_heads,
           key("attention.head_count_kv"), config_.key_value_heads);
    read_head_dim();
    const auto epsilon = keys_.number(key("attention.layer_norm_rms_epsilon"));
    if (!epsilon) fail("{}: key {} is missing.", where_, key("attention.layer_norm_rms_epsilon"));
    if (!(*epsilon >= 0 && *epsilon < 1))
      fail("{}: key {} is {}.", where_, key("attention.layer_norm_rms_epsilon"), *epsilon);
    config_.norm_epsilon = float(*epsilon);
    const GgufTensor* embedding = find_tensor(file_, "token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[0] > INT32_MAX)
      fail("{}: tensor token_embd.weight is missing or is not a matrix.", where_);
    config_.vocabulary_size = int(embedding->shape[0]);
  }

  void read_head_dim() {
    if (keys_.find(key("attention.key_length")) != nullptr) {
      config_.head_dim = int(keys_.dimension(key("attention.key_length"), kMaxCount));
    } else if (config_.hidden_size % config_.query_heads == 0) {
      config_.head_dim = config_.hidden_size / config_.query_heads;
    } else {
      fail("{}: {} ({}) is not a multiple of {} ({}) and {} is missing.", where_, key("embedding_length"),
           config_.hidden_size, key("attention.head_count"), config_.query_heads, key("attention.key_length"));
    }
    if (config_.head_dim % 2 != 0) fail("{}: heads of an odd size ({}) are not supported.", where_, config_.head_dim);
    for (const char* same : {"attention.value_length", "rope.dimension_count"})
      if (const auto value = keys_.integer(key(same)); value && *value != config_.head_dim)
        fail(
            "{}: key {} is {}, but heads have {} elements; differing sizes (and partial rotary embedding) are not "
            "supported.",
            where_, key(same), *value, config_.head_dim);
  }

  // What the file says only by the tensors it holds. That every layer has them is checked where tensors are matched.
  void read_tensor_flags() {
    const auto holds = [&](const char* name) { return find_tensor(file_, name) != nullptr; };
    config_.tied_embeddings = !holds("output.weight");
    config_.qkv_bias = config_.architecture == Architecture::kQwen2 || holds("blk.0.attn_q.bias");
    config_.attention_output_bias = holds("blk.0.attn_output.bias");
    config_.mlp_bias = holds("blk.0.ffn_gate.bias");
    config_.query_key_norm = config_.architecture == Architecture::kQwen3;
    const auto id = [&](const char* name, std::vector<int32_t>& ids) {
      const auto value = keys_.integer(std::string("tokenizer.ggml.") + name + "_token_id");
      if (!value || *value < 0 || *value == kNoToken) return;
      if (*value >= config_.vocabulary_size)
        fail("{}: key tokenizer.ggml.{}_token_id is {}, but the embedding has {} rows.", where_, name, *value,
             config_.vocabulary_size);
      if (std::find(ids.begin(), ids.end(), int32_t(*value)) == ids.end()) ids.push_back(int32_t(*value));
    };
    id("bos", config_.bos_ids);
    id("eos", config_.eos_ids);
    id("eot", config_.eos_ids);  // the ends of a turn and of a message (before a tool's answer) also end generation
    id("eom", config_.eos_ids);
    id("padding", config_.pad_ids);
  }

  void read_window() {
    const int64_t window = keys_.integer(key("attention.sliding_window")).value_or(0);
    if (window < 0) fail("{}: key {} is {}.", where_, key("attention.sliding_window"), window);
    const bool limits = window > 0 && window < config_.max_context;
    if (limits && config_.architecture != Architecture::kLlama)
      fail("{}: key {} is {}, but the file does not say which layers of a {} model it applies to.", where_,
           key("attention.sliding_window"), window, config_.architecture_name);
    config_.windows.assign(size_t(config_.layers), limits ? int(window) : 0);
    if (limits) config_.architecture = Architecture::kMistral, config_.architecture_name = "MistralForCausalLM";
  }

  double positive(std::string_view name, double otherwise) const {
    const double value = keys_.number(key(name)).value_or(otherwise);
    if (!(value > 0)) fail("{}: key {} is {}, not positive.", where_, key(name), value);
    return value;
  }

  void read_rope() {
    RopeConfig& rope = config_.rope;
    rope.theta = positive("rope.freq_base", 10000);
    const std::string type = keys_.string(key("rope.scaling.type"))
                                 .value_or(keys_.find(key("rope.scale_linear")) != nullptr ? "linear" : "none");
    rope.factor = positive("rope.scaling.factor", positive("rope.scale_linear", 1));
    rope.original_context = keys_.integer(key("rope.scaling.original_context_length")).value_or(0);
    if (rope.original_context < 0 || rope.original_context > kMaxContext)
      fail("{}: key {} is {}.", where_, key("rope.scaling.original_context_length"), rope.original_context);
    if (type == "none") {
      rope.factor = 1, rope.original_context = 0;
    } else if (type == "linear") {
      rope.kind = rope.factor == 1 ? RopeKind::kDefault : RopeKind::kLinear;
    } else if (type == "yarn") {
      read_yarn();
    } else if (type == "longrope") {
      read_longrope();
    } else {
      fail("{}: key {} is \"{}\"; supported are none, linear, yarn and longrope.", where_, key("rope.scaling.type"),
           type);
    }
    if (find_tensor(file_, "rope_freqs.weight") != nullptr) read_frequency_factors();
  }

  void read_yarn() {
    RopeConfig& rope = config_.rope;
    rope.kind = RopeKind::kYarn;
    rope.beta_fast = positive("rope.scaling.yarn_beta_fast", 32);
    rope.beta_slow = positive("rope.scaling.yarn_beta_slow", 1);
    const double magnitude = positive("rope.scaling.attn_factor", 1) * positive("rope.scaling.yarn_attn_factor", 1);
    if (magnitude != 1) rope.attention_factor = magnitude * (0.1 * std::log(rope.factor) + 1);
    if (positive("rope.scaling.yarn_ext_factor", 1) != 1)
      fail("{}: key {} is not supported.", where_, key("rope.scaling.yarn_ext_factor"));
  }

  void read_longrope() {
    RopeConfig& rope = config_.rope;
    rope.kind = RopeKind::kLongrope;
    rope.short_factor = factors("rope_factors_short.weight");
    rope.long_factor = factors("rope_factors_long.weight");
    if (keys_.find(key("rope.scaling.attn_factor")) != nullptr)
      rope.attention_factor = positive("rope.scaling.attn_factor", 1);
  }

  // Llama-3 files keep, in place of the parameters of its scaling, the divisor of each frequency. Longrope with these
  // divisors at every length and no change of magnitude is exactly that computation.
  void read_frequency_factors() {
    RopeConfig& rope = config_.rope;
    const std::vector<double> divisors = factors("rope_freqs.weight");
    if (std::all_of(divisors.begin(), divisors.end(), [](double divisor) { return divisor == 1; })) return;
    if (rope.kind != RopeKind::kDefault)
      fail("{}: the file has both {} and the tensor rope_freqs.weight; this combination is not supported.", where_,
           key("rope.scaling.type"));
    rope.kind = RopeKind::kLongrope;
    rope.short_factor = rope.long_factor = divisors;
    rope.attention_factor = 1;
    rope.original_context = config_.max_context;
  }

  std::vector<double> factors(const char* name) const {
    const GgufTensor* tensor = find_tensor(file_, name);
    if (tensor == nullptr) fail("{}: tensor {} is missing.", where_, name);
    if (tensor->shape.size() != 1 || tensor->shape[0] != config_.head_dim / 2 || tensor->type->type != GgufType::kF32)
      fail("{}: tensor {} is not a vector of {} F32 values.", where_, name, config_.head_dim / 2);
    const std::vector<float> values = read_vector_(*tensor);
    for (const float value : values)
      if (!(std::isfinite(value) && value > 0)) fail("{}: tensor {} holds {}, not positive.", where_, name, value);
    return {values.begin(), values.end()};
  }

  const GgufFile& file_;
  GgufKeys keys_;
  const std::string& where_;
  GgufVectorReader read_vector_;
  std::string prefix_;
  ModelConfig config_;
};

int32_t token_id(const GgufKeys& keys, const char* name, size_t tokens) {
  const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
  const int64_t id = keys.integer(key).value_or(-1);
  if (id == kNoToken) return -1;
  if (id < -1 || id >= int64_t(tokens))
    fail("{}: key {} is {}, but there are {} tokens.", keys.where(), key, id, tokens);
  return int32_t(id);
}

}  // namespace

const GgufTensor* find_tensor(const GgufFile& file, std::string_view name) {
  for (const GgufTensor& tensor : file.tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

ModelConfig gguf_model_config(const GgufFile& file, const std::string& where, GgufVectorReader read_vector) {
  return ConfigReader(file, where, read_vector).read();
}

GenerationConfig gguf_generation_config(const GgufFile& file, const std::string& where, const ModelConfig& config) {
  const GgufKeys keys(file, where);
  GenerationConfig generation;
  generation.bos_ids = config.bos_ids;
  generation.eos_ids = config.eos_ids;
  generation.pad_ids = config.pad_ids;
  // The authors' sampling settings, which converters copy from generation_config.json. llama.cpp's own kinds of
  // sampling are off at 0, penalties at 1.
  constexpr std::string_view kSampling = "general.sampling.";
  constexpr std::array<std::string_view, 5> kRead = {"temp", "top_p", "min_p", "top_k", "sequence"};
  for (const auto& [key, value] : file.values) {
    if (key.compare(0, kSampling.size(), kSampling) != 0) continue;
    const std::string_view name = std::string_view(key).substr(kSampling.size());
    if (std::find(kRead.begin(), kRead.end(), name) != kRead.end()) continue;
    const bool matters = name == "penalty_repeat" ? keys.number(key).value_or(1) != 1
                         : name == "mirostat"     ? keys.integer(key).value_or(0) != 0
                                                  : name == "xtc_probability" && keys.number(key).value_or(0) != 0;
    if (matters)
      fail(
          "{}: key {} is not supported, and ignoring it would change the answers; take it out with gguf-new-metadata "
          "or "
          "take the model's folder.",
          where, key);
  }
  generation.temperature = keys.number("general.sampling.temp");
  generation.top_p = keys.number("general.sampling.top_p");
  generation.min_p = keys.number("general.sampling.min_p");
  generation.top_k = keys.integer("general.sampling.top_k");
  if (generation.temperature) generation.do_sample = *generation.temperature > 0;
  return generation;
}

EmbeddedVocabulary gguf_vocabulary(const GgufFile& file, const std::string& where, const ModelConfig& config) {
  const GgufKeys keys(file, where);
  EmbeddedVocabulary vocabulary;
  const auto* tokens = keys.strings("tokenizer.ggml.tokens");
  const std::string model = keys.string("tokenizer.ggml.model").value_or("");
  if (tokens == nullptr || tokens->empty() || model.empty()) return vocabulary;
  if (int64_t(tokens->size()) > config.vocabulary_size)
    fail("{}: tokenizer.ggml.tokens has {} tokens, but the embedding has {} rows.", where, tokens->size(),
         config.vocabulary_size);
  vocabulary.model = model;
  vocabulary.pre = keys.string("tokenizer.ggml.pre").value_or("");
  vocabulary.tokens = *tokens;
  if (const auto* scores = keys.floats("tokenizer.ggml.scores")) vocabulary.scores = *scores;
  if (const auto* types = keys.integers("tokenizer.ggml.token_type"))
    for (const int64_t type : *types) vocabulary.types.push_back(int32_t(std::clamp<int64_t>(type, 0, 255)));
  if (const auto* merges = keys.strings("tokenizer.ggml.merges")) vocabulary.merges = *merges;
  for (const auto& [name, size] :
       {std::pair("scores", vocabulary.scores.size()), {"token_type", vocabulary.types.size()}})
    if (size != 0 && size != tokens->size())
      fail("{}: tokenizer.ggml.{} has {} entries for {} tokens.", where, name, size, tokens->size());
  vocabulary.bos_id = token_id(keys, "bos", tokens->size());
  vocabulary.eos_id = token_id(keys, "eos", tokens->size());
  vocabulary.unknown_id = token_id(keys, "unknown", tokens->size());
  vocabulary.padding_id = token_id(keys, "padding", tokens->size());
  vocabulary.add_bos = keys.boolean("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = keys.boolean("tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = keys.boolean("tokenizer.ggml.add_space_prefix");
  vocabulary.chat_template = keys.string("tokenizer.chat_template").value_or("");
  vocabulary.tool_template = keys.string("tokenizer.chat_template.tool_use").value_or("");
  return vocabulary;
}

}  // namespace updraft::checkpoint
