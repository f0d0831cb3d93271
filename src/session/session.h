// Session: a loaded model with its tokenizer, template and engine: text in, text out. It joins the floors below for the
// doors above (cli, serve, python, measure), so that each setting means the same behind every door.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder_writer.h"
#include "engine/engine.h"
#include "session/memory_plan.h"
#include "session/tuning.h"
#include "text/chat_template.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"

namespace updraft::session {

struct LoadOptions {
  std::string model;      // a folder or a .gguf; may be empty with `synthetic` (then an embedded vocabulary)
  std::string synthetic;  // "mistral-7b", "mistral-7b:layers=4", a config.json; weights from `synthetic_seed`
  uint64_t synthetic_seed = 1;
  std::string device = "cpu";
  std::string instruction_set;  // "" best
  int threads = 0;              // 0: all this process may use
  bool exact = false;           // F32 activations everywhere
  model::WeightChoice weights;  // --dtype; auto: as stored
  compute::KvType kv_dtype = compute::KvType::kF16;
  std::optional<int64_t> context;  // --context
  int64_t kv_tokens = 0;           // capacity; 0: the context for every sequence, as far as memory goes
  int64_t max_rows = 512;
  int64_t max_sequences = 16;
  bool prefix_reuse = true;   // bench: off, so that every run computes its prompt
  bool speculate = true;      // bench: off unless asked for; the same answers either way
  std::string tuning_folder;  // where `updraft tune` keeps its results; "": defaults
  ProgressCallback progress;
};

// What a model is called: its file or folder; in the Hub's cache (models--org--name/snapshots/COMMIT) org/name.
std::string model_name(const std::filesystem::path&);
// Opening the parts by themselves, for commands that need no weights.
std::unique_ptr<checkpoint::Checkpoint> open_model(const LoadOptions&);
std::unique_ptr<text::Tokenizer> open_tokenizer(
    const std::string& model);                                    // folder, .gguf, tokenizer.json, tokenizer.model
text::ChatSettings open_chat_settings(const std::string& model);  // folder or .gguf
// The vocabulary and chat template inside a GGUF file as the files of a folder: tokenizer.json, tokenizer_config.json,
// chat_template.jinja. None where the container has none. Throws Error for a vocabulary that is not supported.
checkpoint::TextFiles embedded_tokenizer_files(const checkpoint::Checkpoint&);

struct MemoryUse {
  int64_t weights_bytes = 0, kv_bytes = 0, workspace_bytes = 0;
};

// What a session with these options will keep, with so many tokens of KV cache: from the model's header alone.
MemoryPlan plan_memory(const LoadOptions&, int64_t context);

// A request in text. Exactly one of prompt, messages, ids is set.
struct TextRequest {
  std::optional<std::string> prompt;               // raw text, encoded with BOS
  std::optional<nlohmann::ordered_json> messages;  // through the chat template
  nlohmann::ordered_json template_variables;       // tools, enable_thinking, ...
  std::optional<std::vector<int32_t>> ids;
  engine::SamplingParameters sampling;
  std::optional<int64_t> max_new_tokens;
  std::optional<int64_t> max_length;  // prompt and answer together, where max_new_tokens is not given
  int64_t min_new_tokens = 0;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  bool include_stop = false;
  bool speculate = true;                          // where the session may
  std::optional<int64_t> context;                 // of the sequence's RoPE table; default prompt + max_new_tokens
  std::function<void(std::string_view)> on_text;  // certain text as it comes
};

struct TextAnswer {
  std::vector<int32_t> prompt_ids;
  engine::Answer answer;  // ids, finish reason, timings
  std::string text;       // without special tokens, cut before a stop string
};

class Session;

// A request on its way through the engine. It borrows the session; dropping an unfinished one cancels it.
class Generation {
 public:
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  bool finished() const;
  void cancel();      // the answer ends with what it has, FinishReason::kCancelled
  TextAnswer take();  // once, after finished()

 private:
  friend class Session;
  Generation() = default;
  engine::Engine* engine_ = nullptr;
  engine::RequestId id_ = 0;
  bool taken_ = false;
  std::optional<text::TextStream> stream_;
  std::function<void(std::string_view)> on_text_;
  std::string text_;
  std::vector<int32_t> prompt_ids_;
};

class Session {
 public:
  // `model`: what open_model(options) gave, where the caller had to look at it first.
  static std::unique_ptr<Session> load(const LoadOptions&, std::unique_ptr<checkpoint::Checkpoint> model = nullptr);
  ~Session();

  const checkpoint::Checkpoint& checkpoint() const { return *checkpoint_; }
  const text::Tokenizer* tokenizer() const { return tokenizer_.get(); }  // null: the folder has none
  bool has_chat_template() const { return !chat_settings_.chat_template.empty(); }
  engine::Engine& engine() { return *engine_; }
  // What the matrices are kept as: "bf16", "int4, head int8"; and what that makes of activations.
  std::string packing_names() const { return engine_->decoder().weights().packing_names(); }
  std::string activations() const { return engine_->decoder().weights().activation_names(engine_->machine().info()); }
  MemoryUse memory() const;
  double load_s() const { return load_s_; }
  const TunedFor& tuned_for() const { return tuned_for_; }
  const char* tuning_source() const { return tuned_ ? "file" : "default"; }  // what is in use

  // generation_config over transformers' defaults: what flags and requests then override.
  TextRequest default_request() const;

  // Throws text::TemplateError for what the template refuses, Error when the model has no template.
  std::string apply_template(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& variables) const;
  std::vector<int32_t> prompt_ids(const TextRequest&) const;

  // Queues a request; engine().step() moves it on. Throws Error or TemplateError for one that cannot be built.
  std::unique_ptr<Generation> submit(TextRequest);
  // One request to its end, on this thread; `cancelled` is looked at between layers. `reading` is told how much of the
  // prompt is computed, with done == total after the step that ends it.
  TextAnswer generate(TextRequest, const std::atomic<bool>* cancelled = nullptr, const ProgressCallback& reading = {});

 private:
  Session() = default;
  std::unique_ptr<checkpoint::Checkpoint> checkpoint_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  text::ChatSettings chat_settings_;
  // Parsed, or why not, which is said when the template is used: it is no reason to refuse other prompts.
  struct ParsedTemplate {
    std::optional<text::ChatTemplate> parsed;
    std::string problem;
  };
  static ParsedTemplate parse_template(const std::string& text, const std::string& source);
  ParsedTemplate chat_template_, tool_template_;
  std::unique_ptr<engine::Engine> engine_;
  std::optional<int64_t> context_;
  double load_s_ = 0;
  TunedFor tuned_for_;
  bool tuned_ = false;
};

}  // namespace updraft::session
