// Updraft's C++ API: load a model as Hugging Face ships it (or a GGUF file), generate, chat, tokenize, read logits.
// It promises the law of the house: a token's logits depend on the token ids before it and on nothing else, bit for
// bit. Functions throw std::runtime_error with one sentence that names the file or the field and the remedy. A Model is
// used by one thread at a time; several Models may live side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace updraft {

struct ModelOptions {
  std::string device = "cpu";    // or "reference": double precision, slow, the oracle
  int threads = 0;               // 0: every processor this process may use
  std::string dtype = "auto";    // weights in memory: "auto" (as stored), "f32", "f16", "bf16", "int8", "int4", ...
  std::string kv_dtype = "f16";  // KV cache: "f16", "f32" or "int8"
  int64_t context = 0;           // longest prompt + answer in tokens; 0: the model's, as memory allows
  bool exact = false;            // F32 activations also where tile instructions would split them in bf16 terms
  bool speculate = true;         // guess tokens from what was said before and verify them: faster, the same bits
  std::string synthetic;         // instead of a path: "mistral-7b", "mistral-7b:layers=4": weights from a seed
  std::function<void(double fraction)> progress;  // of loading, 0 to 1
};

struct Message {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// Names and semantics of transformers' generate(). What is not given is generation_config.json's, else transformers'
// default.
struct GenerateOptions {
  int64_t max_new_tokens = 256;
  std::optional<double> temperature;  // turns sampling on; 0: greedy
  std::optional<int64_t> top_k;
  std::optional<double> top_p, min_p, repetition_penalty;
  std::optional<uint64_t> seed;   // same seed, same text; none: a fresh one, where sampling is on
  std::vector<std::string> stop;  // the text ends before the first of these
  bool ignore_eos = false;
  std::function<bool(std::string_view)> on_text;  // certain text as it comes; false stops
};

struct Generated {
  std::string text;           // without special tokens
  std::vector<int32_t> ids;   // new ones only
  std::string finish_reason;  // "eos", "length", "stop", "cancelled"
  int64_t prompt_tokens = 0;
  double time_to_first_token_s = 0;
  double decode_tokens_per_second = 0;
};

class Model {
 public:
  static Model load(const std::string& path, const ModelOptions& = {});
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  Generated generate(const std::string& prompt, const GenerateOptions& = {});  // raw text, BOS added
  Generated generate(const std::vector<int32_t>& ids, const GenerateOptions& = {});
  Generated chat(const std::vector<Message>& messages, const GenerateOptions& = {});  // through the chat template

  std::vector<int32_t> tokenize(const std::string& text, bool add_special = false) const;
  std::string detokenize(const std::vector<int32_t>& ids, bool skip_special = true) const;
  std::string apply_chat_template(const std::vector<Message>& messages) const;

  std::vector<float> logits(const std::vector<int32_t>& ids);  // [ids.size(), vocabulary_size()], row-major
  int64_t vocabulary_size() const;
  std::string numerics_key() const;  // equal keys and equal ids give equal bits

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace updraft
