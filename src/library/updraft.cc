#include "updraft/updraft.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "session/request_settings.h"
#include "session/session.h"

namespace updraft {

using nlohmann::ordered_json;

struct Model::Impl {
  std::unique_ptr<session::Session> session;
};

namespace {

model::WeightChoice weights_of(const std::string& text) {
  const std::optional<model::WeightChoice> choice = model::parse_weight_choice(text);
  if (!choice) fail("ModelOptions::dtype: \"{}\" is none of {}", text, model::kWeightChoices);
  return *choice;
}

ordered_json messages_json(const std::vector<Message>& messages) {
  ordered_json list = ordered_json::array();
  for (const Message& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  return list;
}

const text::Tokenizer& tokenizer_of(const session::Session& loaded) {
  if (!loaded.tokenizer()) fail("{}: this model has no tokenizer; use token ids", loaded.checkpoint().path().string());
  return *loaded.tokenizer();
}

Generated run(session::Session& loaded, session::TextRequest request, const GenerateOptions& options) {
  ordered_json settings = {
      {"max_new_tokens", options.max_new_tokens}, {"ignore_eos", options.ignore_eos}, {"stop", options.stop}};
  const auto put = [&](const char* name, const auto& value) {
    if (value) settings[name] = *value;
  };
  put("temperature", options.temperature);
  put("top_k", options.top_k);
  put("top_p", options.top_p);
  put("min_p", options.min_p);
  put("repetition_penalty", options.repetition_penalty);
  put("seed", options.seed);
  session::apply_settings(settings, request);
  session::draw_seed(settings, request);
  std::atomic<bool> stopped{false};
  if (options.on_text)
    request.on_text = [&](std::string_view text) {
      if (!stopped && !options.on_text(text)) stopped = true;
    };
  const session::TextAnswer result = loaded.generate(std::move(request), &stopped);
  if (result.answer.finish_reason == engine::FinishReason::kError) fail("{}", result.answer.error);
  Generated out;
  out.text = result.text;
  out.ids = result.answer.ids;
  out.finish_reason = engine::name(result.answer.finish_reason);
  out.prompt_tokens = result.answer.prompt_tokens;
  out.time_to_first_token_s = result.answer.timings.time_to_first_token_s;
  if (result.answer.timings.decode_s > 0)
    out.decode_tokens_per_second = (double(out.ids.size()) - 1) / result.answer.timings.decode_s;
  return out;
}

}  // namespace

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

Model Model::load(const std::string& path, const ModelOptions& options) {
  session::LoadOptions load;
  load.model = path;
  load.synthetic = options.synthetic;
  load.device = options.device;
  load.threads = options.threads;
  load.exact = options.exact;
  load.speculate = options.speculate;
  load.max_sequences = 1;
  load.weights = weights_of(options.dtype);
  const std::optional<compute::KvType> kv = compute::kv_type_named(options.kv_dtype);
  if (!kv) fail("ModelOptions::kv_dtype: \"{}\" is none of {}", options.kv_dtype, compute::kKvTypeNames);
  load.kv_dtype = *kv;
  if (options.context > 0) load.context = options.context;
  if (options.progress)
    load.progress = [&](const Progress& p) {
      if (p.total > 0) options.progress(double(p.done) / double(p.total));
    };
  auto impl = std::make_unique<Impl>();
  impl->session = session::Session::load(load);
  return Model(std::move(impl));
}

Generated Model::generate(const std::string& prompt, const GenerateOptions& options) {
  session::TextRequest request = impl_->session->default_request();
  request.prompt = prompt;
  return run(*impl_->session, std::move(request), options);
}

Generated Model::generate(const std::vector<int32_t>& ids, const GenerateOptions& options) {
  session::TextRequest request = impl_->session->default_request();
  request.ids = ids;
  return run(*impl_->session, std::move(request), options);
}

Generated Model::chat(const std::vector<Message>& messages, const GenerateOptions& options) {
  session::TextRequest request = impl_->session->default_request();
  request.messages = messages_json(messages);
  return run(*impl_->session, std::move(request), options);
}

std::vector<int32_t> Model::tokenize(const std::string& text, bool add_special) const {
  return tokenizer_of(*impl_->session).encode(text, {.add_special = add_special});
}

std::string Model::detokenize(const std::vector<int32_t>& ids, bool skip_special) const {
  return tokenizer_of(*impl_->session).decode(ids, skip_special);
}

std::string Model::apply_chat_template(const std::vector<Message>& messages) const {
  return impl_->session->apply_template(messages_json(messages), ordered_json::object());
}

std::vector<float> Model::logits(const std::vector<int32_t>& ids) {
  for (int32_t id : ids)
    if (id < 0 || id >= vocabulary_size())
      fail("logits: id {} is outside the vocabulary of {} tokens", id, vocabulary_size());
  if (int64_t(ids.size()) > impl_->session->engine().options().kv_tokens)
    fail("logits: {} ids are more than the context of {} tokens (ModelOptions::context)", ids.size(),
         impl_->session->engine().options().kv_tokens);
  std::vector<float> all(ids.size() * size_t(vocabulary_size()));
  impl_->session->engine().logits(ids, 0, [&](int64_t position, std::span<const float> row) {
    std::copy(row.begin(), row.end(), all.begin() + position * vocabulary_size());
  });
  return all;
}

int64_t Model::vocabulary_size() const { return impl_->session->checkpoint().config().vocabulary_size; }

std::string Model::numerics_key() const { return impl_->session->engine().numerics_key(); }

}  // namespace updraft
