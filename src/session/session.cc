#include "session/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system_memory.h"
#include "session/memory_plan.h"

namespace updraft::session {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

text::VocabularyData vocabulary_data(const checkpoint::EmbeddedVocabulary& v) {
  return {v.model,  v.pre,        v.tokens,     v.scores,  v.types,   v.merges,          v.bos_id,
          v.eos_id, v.unknown_id, v.padding_id, v.add_bos, v.add_eos, v.add_space_prefix};
}

bool has_vocabulary(const checkpoint::Checkpoint& opened) {
  return opened.vocabulary() != nullptr && !opened.vocabulary()->model.empty();
}

std::unique_ptr<text::Tokenizer> tokenizer_of(const checkpoint::Checkpoint& opened) {
  return naming(opened.path().string(), [&] { return text::make_tokenizer(vocabulary_data(*opened.vocabulary())); });
}

text::ChatSettings chat_settings_of(const checkpoint::Checkpoint& opened) {
  text::ChatSettings settings;
  settings.special_tokens = ordered_json::object();
  if (opened.vocabulary() == nullptr) return settings;
  const checkpoint::EmbeddedVocabulary& v = *opened.vocabulary();
  settings.chat_template = v.chat_template;
  settings.source = fmt::format("tokenizer.chat_template of {}", opened.path().string());
  settings.tool_template = v.tool_template;
  settings.tool_source = fmt::format("tokenizer.chat_template.tool_use of {}", opened.path().string());
  const auto put = [&](const char* name, int32_t id) {
    if (id >= 0 && size_t(id) < v.tokens.size()) settings.special_tokens[name] = v.tokens[size_t(id)];
  };
  put("bos_token", v.bos_id);
  put("eos_token", v.eos_id);
  put("unk_token", v.unknown_id);
  put("pad_token", v.padding_id);
  return settings;
}

bool has_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model");
}

// What the KV cache holds when only the context is known: the longest one for every sequence, cut to 80 % of the memory
// left, but not below one sequence of the context that was asked for.
int64_t default_kv_tokens(const compute::KvGeometry& kv, int64_t longest, int64_t sequences, int64_t asked) {
  const int64_t affordable = system_memory().available_bytes / 5 * 4 / std::max<int64_t>(kv.bytes_per_token(), 1);
  return std::max<int64_t>({std::min(longest * sequences, affordable), asked, 64});
}

std::string gigabytes(int64_t bytes) { return fmt::format("{:.1f} GB", double(bytes) / 1e9); }

// Linux grants memory that it does not have and kills the process that fills it: what cannot fit is refused before a
// weight is read.
void refuse_too_large(const checkpoint::Checkpoint& opened, const model::WeightChoice& choice, compute::KvType kv) {
  const int64_t available = system_memory().available_bytes, needed = plan_memory(opened, choice, kv, 0).weights_bytes;
  if (needed <= available) return;
  std::string fitting;
  for (const model::WeightChoice& other : usual_choices())
    if (const int64_t bytes = plan_memory(opened, other, kv, 0).weights_bytes; bytes <= available)
      fitting += fmt::format("{}--dtype {} ({})", fitting.empty() ? "" : " or ", name(other), gigabytes(bytes));
  fail("The weights take {} with --dtype {}, and {} of memory are available; {}", gigabytes(needed), name(choice),
       gigabytes(available),
       fitting.empty() ? "a smaller model or a machine with more memory is needed." : fitting + " would fit.");
}

void refuse_large_cache(const compute::KvGeometry& kv, int64_t tokens) {
  const int64_t available = system_memory().available_bytes, per_token = std::max<int64_t>(kv.bytes_per_token(), 1);
  if (tokens <= available / per_token) return;
  fail(
      "A KV cache of {} tokens takes {} B for each of them, and {} of memory are available beside the weights; ask for "
      "less context (--context) or depth, or keep the cache smaller (--kv-dtype int8).",
      tokens, per_token, gigabytes(available));
}

// --exact leaves no room for 8-bit activations: stored integers are dequantized, asking for integers contradicts it.
model::WeightChoice weight_choice(const LoadOptions& options, const checkpoint::Checkpoint& opened) {
  if (!options.exact) return options.weights;
  if (options.weights.format)
    fail("--exact and --dtype {}: activations beside integer weights are 8-bit integers; leave one of the two out",
         name(options.weights));
  const auto is_quantized = [](const checkpoint::TensorInfo& tensor) { return tensor.integers.has_value(); };
  if (options.weights == model::WeightChoice{} &&
      std::any_of(opened.tensors().begin(), opened.tensors().end(), is_quantized))
    return {DType::kF32, {}};
  return options.weights;
}

// transformers' rule for its two limits, the second of which models bring in generation_config.json.
std::optional<int64_t> limit_of(const TextRequest& request, int64_t prompt_tokens) {
  if (request.max_new_tokens || !request.max_length) return request.max_new_tokens;
  if (prompt_tokens >= *request.max_length)
    fail(
        "The prompt has {} tokens, and the model's max_length (generation_config.json) allows {} with the answer; say "
        "how many new ones (max_new_tokens).",
        prompt_tokens, *request.max_length);
  return *request.max_length - prompt_tokens;
}

}  // namespace

std::string model_name(const fs::path& path) {
  constexpr std::string_view kRepository = "models--";
  fs::path place = fs::absolute(path).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();  // a trailing slash
  const fs::path snapshots = place.parent_path();
  const std::string repository = snapshots.parent_path().filename();
  if (snapshots.filename() != "snapshots" || !repository.starts_with(kRepository)) return place.filename();
  const std::string name = repository.substr(kRepository.size());
  const size_t dashes = name.find("--");
  return dashes == std::string::npos ? name : name.substr(0, dashes) + '/' + name.substr(dashes + 2);
}

std::unique_ptr<checkpoint::Checkpoint> open_model(const LoadOptions& options) {
  if (!options.synthetic.empty()) {
    checkpoint::SyntheticOptions synthetic = checkpoint::parse_synthetic(options.synthetic);
    if (options.weights.dtype) synthetic.dtype = *options.weights.dtype;
    synthetic.seed = options.synthetic_seed;
    return checkpoint::make_synthetic(synthetic);
  }
  if (options.model.empty())
    fail("no model: give a folder as Hugging Face ships it, a .gguf file, or --synthetic NAME");
  return checkpoint::open_checkpoint(options.model);
}

std::unique_ptr<text::Tokenizer> open_tokenizer(const std::string& model) {
  if (!is_there(model)) fail("{}: there is no such folder or file.", model);
  if (!is_gguf(model)) return text::load_tokenizer(model);
  const auto opened = checkpoint::open_checkpoint(model);
  if (!has_vocabulary(*opened))
    fail(
        "{}: this GGUF file carries no vocabulary (tokenizer.ggml.model); take a file that has one, or the model's "
        "folder",
        model);
  return tokenizer_of(*opened);
}

text::ChatSettings open_chat_settings(const std::string& model) {
  if (is_gguf(model)) {
    const auto opened = checkpoint::open_checkpoint(model);
    return chat_settings_of(*opened);
  }
  if (!fs::exists(model)) fail("{}: there is no such folder or file; a model folder or a .gguf is expected", model);
  return text::load_chat_settings(fs::is_directory(model) ? fs::path(model) : fs::path(model).parent_path());
}

checkpoint::TextFiles embedded_tokenizer_files(const checkpoint::Checkpoint& opened) {
  if (!has_vocabulary(opened)) return {};
  const text::ChatSettings chat = chat_settings_of(opened);
  ordered_json config = chat.special_tokens;
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = opened.config().max_context;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  checkpoint::TextFiles files = {
      {"tokenizer.json",
       naming(opened.path().string(), [&] { return text::to_tokenizer_json(vocabulary_data(*opened.vocabulary())); })},
      {"tokenizer_config.json", config.dump(2) + "\n"}};
  if (!chat.chat_template.empty()) files.emplace_back("chat_template.jinja", chat.chat_template);
  if (!chat.tool_template.empty()) files.emplace_back("additional_chat_templates/tool_use.jinja", chat.tool_template);
  return files;
}

Generation::~Generation() {
  if (taken_ || !engine_) return;
  // The engine may still call back into this object: let the cancellation take effect first, by steps that end at once.
  engine_->cancel(id_);
  while (!engine_->finished(id_)) engine_->step([](int64_t) { return false; });
  engine_->take(id_);
}

bool Generation::finished() const { return engine_->finished(id_); }

void Generation::cancel() { engine_->cancel(id_); }

TextAnswer Generation::take() {
  CHECK(!taken_) << "taken twice";
  taken_ = true;
  TextAnswer answer;
  answer.answer = std::move(engine_->take(id_).front());
  if (stream_) {
    const std::string rest = stream_->finish();
    if (on_text_ && !rest.empty()) on_text_(rest);
    text_ += rest;
  }
  answer.text = std::move(text_);
  answer.prompt_ids = std::move(prompt_ids_);
  return answer;
}

Session::~Session() = default;

Session::ParsedTemplate Session::parse_template(const std::string& text, const std::string& source) {
  if (text.empty()) return {};
  try {
    return {text::ChatTemplate(text, source), ""};
  } catch (const Error& error) {
    return {std::nullopt, error.what()};
  }
}

std::unique_ptr<Session> Session::load(const LoadOptions& options, std::unique_ptr<checkpoint::Checkpoint> model) {
  const auto started = std::chrono::steady_clock::now();
  std::unique_ptr<Session> session(new Session);
  session->checkpoint_ = model ? std::move(model) : open_model(options);
  const checkpoint::Checkpoint& opened = *session->checkpoint_;

  // Beside --synthetic a .gguf file gives its text alone, as a folder does.
  std::unique_ptr<checkpoint::Checkpoint> beside;
  if (!options.synthetic.empty() && is_gguf(options.model)) beside = checkpoint::open_checkpoint(options.model);
  if (const checkpoint::Checkpoint& texts = beside ? *beside : opened; has_vocabulary(texts)) {
    session->tokenizer_ = tokenizer_of(texts);
    session->chat_settings_ = chat_settings_of(texts);
  } else if (!options.model.empty() && has_tokenizer(options.model)) {
    session->tokenizer_ = text::load_tokenizer(options.model);
    session->chat_settings_ = text::load_chat_settings(options.model);
  } else if (!options.synthetic.empty() && opened.config().vocabulary_size >= text::kByteTokenizerTokens) {
    session->tokenizer_ = text::make_byte_tokenizer(opened.config().vocabulary_size);
  }

  const text::ChatSettings& chat = session->chat_settings_;
  session->chat_template_ = parse_template(chat.chat_template, chat.source);
  session->tool_template_ = parse_template(chat.tool_template, chat.tool_source);

  compute::MachineOptions machine_options;
  machine_options.threads = options.threads;
  machine_options.instruction_set = options.instruction_set;
  if (options.exact) machine_options.activations = compute::Activations::kF32;
  auto machine = compute::make_machine(options.device, machine_options);

  const model::WeightChoice choice = weight_choice(options, opened);
  refuse_too_large(opened, choice, options.kv_dtype);
  Progress progress{"loading weights", 0, 0, "B"};
  model::DecoderWeights weights =
      model::load_decoder_weights(opened, *machine, choice, [&](int64_t done, int64_t total) {
        progress.done = done, progress.total = total;
        if (options.progress) options.progress(progress);
      });
  session->tuned_for_ = session::tuned_for(opened.config(), machine->info(), weights.packing_names());
  const auto tuning =
      options.tuning_folder.empty() ? std::nullopt : read_tuning(options.tuning_folder, session->tuned_for_);
  session->tuned_ = tuning.has_value();
  if (tuning) machine->tune(*tuning);
  model::Decoder decoder(opened.config(), std::move(weights));

  engine::EngineOptions engine_options;
  engine_options.kv_dtype = options.kv_dtype;
  engine_options.max_rows = options.max_rows;
  if (tuning) {
    engine_options.max_rows = std::min(options.max_rows, std::max(tuning->step_rows, options.max_sequences));
    engine_options.speculation.step_cost = tuning->step_cost;
    engine_options.speculation.row_cost = tuning->row_cost;
  }
  engine_options.max_sequences = options.max_sequences;
  engine_options.prefix_reuse = options.prefix_reuse;
  engine_options.speculation.on = options.speculate;
  // transformers only warns beyond max_position_embeddings, and `dynamic` RoPE is made for it: who asks for more gets
  // it.
  const int64_t longest = options.context.value_or(std::max(opened.config().max_context, options.kv_tokens));
  session->context_ = options.context;
  const compute::KvGeometry kv = decoder.kv_geometry(options.kv_dtype);
  engine_options.kv_tokens = options.kv_tokens > 0
                                 ? options.kv_tokens
                                 : default_kv_tokens(kv, longest, options.max_sequences, options.context.value_or(0));
  refuse_large_cache(kv, engine_options.kv_tokens);
  engine_options.max_context = std::min(longest, engine_options.kv_tokens);
  session->engine_ = std::make_unique<engine::Engine>(std::move(machine), std::move(decoder), engine_options);
  session->load_s_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return session;
}

MemoryPlan plan_memory(const LoadOptions& options, int64_t context) {
  const auto opened = open_model(options);
  return plan_memory(*opened, weight_choice(options, *opened), options.kv_dtype, context);
}

MemoryUse Session::memory() const {
  const model::Workspace& w = engine_->workspace();
  MemoryUse use;
  use.weights_bytes = engine_->decoder().weights().bytes();
  use.kv_bytes = w.kv->bytes;
  for (const compute::Rows& rows : {w.x, w.q, w.attended, w.hidden, w.logits})
    use.workspace_bytes += rows->max_rows * rows->columns * int64_t(sizeof(float));
  return use;
}

TextRequest Session::default_request() const {
  const checkpoint::GenerationConfig& c = checkpoint_->generation_config();
  TextRequest request;
  engine::SamplingParameters& s = request.sampling;
  s.do_sample = c.do_sample.value_or(false);
  s.temperature = float(c.temperature.value_or(1));
  s.top_k = int32_t(c.top_k.value_or(50));
  s.top_p = float(c.top_p.value_or(1));
  s.min_p = float(c.min_p.value_or(0));
  s.typical_p = float(c.typical_p.value_or(1));
  s.epsilon_cutoff = float(c.epsilon_cutoff.value_or(0));
  s.eta_cutoff = float(c.eta_cutoff.value_or(0));
  s.repetition_penalty = float(c.repetition_penalty.value_or(1));
  s.no_repeat_ngram_size = int32_t(c.no_repeat_ngram_size.value_or(0));
  s.bad_words = c.bad_words;
  for (const auto& [ids, bias] : c.sequence_bias) s.sequence_bias.emplace_back(ids, float(bias));
  s.suppressed_ids = c.suppressed_ids;
  s.begin_suppressed_ids = c.begin_suppressed_ids;
  request.max_new_tokens = c.max_new_tokens;
  request.max_length = c.max_length;
  request.min_new_tokens = c.min_new_tokens.value_or(0);
  request.stop = c.stop_strings;
  return request;
}

std::string Session::apply_template(const ordered_json& messages, const ordered_json& variables) const {
  ordered_json all = chat_settings_.variables();
  all["messages"] = messages;
  all["add_generation_prompt"] = true;
  for (const auto& [name, value] : variables.items()) all[name] = value;
  const bool for_tools = chat_settings_.takes_tool_template(all);
  if (!for_tools && !has_chat_template())
    fail("{}: this model has no chat template (chat_template in tokenizer_config.json); give a raw prompt instead",
         checkpoint_->path().empty() ? "--synthetic" : checkpoint_->path().string());
  const ParsedTemplate& chosen = for_tools ? tool_template_ : chat_template_;
  if (!chosen.parsed) fail("{}", chosen.problem);
  return chosen.parsed->render(all);
}

std::vector<int32_t> Session::prompt_ids(const TextRequest& request) const {
  const int given = int(request.prompt.has_value()) + int(request.messages.has_value()) + int(request.ids.has_value());
  if (given != 1) fail("a request needs exactly one of prompt, messages and ids, and this one has {}", given);
  if (request.ids) return *request.ids;
  if (!tokenizer_ && checkpoint_->path().empty())
    fail("a synthetic vocabulary of {} tokens is too small for text; give token ids (--ids)",
         checkpoint_->config().vocabulary_size);
  if (!tokenizer_)
    fail("{}: there is no tokenizer.json or tokenizer.model in this folder; give token ids (--ids) instead of text",
         checkpoint_->path().string());
  if (request.prompt) return tokenizer_->encode(*request.prompt, {.add_special = true});
  return tokenizer_->encode(apply_template(*request.messages, request.template_variables), {.add_special = false});
}

std::unique_ptr<Generation> Session::submit(TextRequest request) {
  std::unique_ptr<Generation> generation(new Generation);
  generation->prompt_ids_ = prompt_ids(request);
  generation->on_text_ = std::move(request.on_text);
  if (tokenizer_)
    generation->stream_.emplace(
        *tokenizer_,
        text::TextStream::Options{.skip_special = true, .stop = request.stop, .include_stop = request.include_stop});

  engine::Request r;
  r.ids = generation->prompt_ids_;
  r.sampling = std::move(request.sampling);
  r.max_new_tokens = limit_of(request, int64_t(r.ids.size()));
  r.min_new_tokens = request.min_new_tokens;
  r.ignore_eos = request.ignore_eos;
  r.speculate = request.speculate;
  r.context = request.context ? request.context : context_;
  r.eos_ids = checkpoint_->generation_config().eos_ids;
  if (r.eos_ids.empty()) r.eos_ids = checkpoint_->config().eos_ids;
  if (r.eos_ids.empty() && tokenizer_ && tokenizer_->eos()) r.eos_ids = {*tokenizer_->eos()};
  r.on_token = [g = generation.get()](int32_t, const engine::Token& token) {
    if (!g->stream_) return true;
    const std::string certain = g->stream_->push(token.id);
    if (g->on_text_ && !certain.empty()) g->on_text_(certain);
    g->text_ += certain;
    return !g->stream_->stopped();
  };
  generation->engine_ = engine_.get();
  generation->id_ = engine_->submit(std::move(r));
  return generation;
}

TextAnswer Session::generate(TextRequest request, const std::atomic<bool>* cancelled, const ProgressCallback& reading) {
  const std::unique_ptr<Generation> generation = submit(std::move(request));
  const engine::EngineStatistics before = engine_->statistics();
  Progress progress{"reading the prompt", 0, int64_t(generation->prompt_ids_.size()), "tokens"};
  if (reading) reading(progress);
  const auto stops = [&] { return cancelled && cancelled->load(std::memory_order_relaxed); };
  int64_t done = 0;  // of the prompt, by whole steps
  const auto watch = [&](int64_t rows) {
    if (reading && done < progress.total && rows > 0) {
      progress.done = done + rows;
      reading(progress);
    }
    return !stops();
  };
  while (!generation->finished()) {
    if (stops()) generation->cancel();
    engine_->step(watch);
    if (!reading || done >= progress.total) continue;
    const engine::EngineStatistics now = engine_->statistics();
    progress.done = done = now.rows - before.rows + now.prefix_hit_tokens - before.prefix_hit_tokens;
    reading(progress);
  }
  return generation->take();
}

}  // namespace updraft::session
