#include "measure/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/new_file.h"
#include "base/system_memory.h"
#include "base/thread_team.h"
#include "checkpoint/strict_json.h"
#include "measure/quality_sums.h"
#include "measure/run_record.h"
#include "session/json_values.h"
#include "session/memory_plan.h"
#include "text/utf8.h"

namespace updraft::measure {

using nlohmann::ordered_json;

namespace {

constexpr const char* kStateSchema = "updraft.eval-state/2";  // 1: with hashes of models that told less apart
constexpr const char* kReportSchema = "updraft.eval/1";
constexpr int64_t kLargestText = 256 << 20;
constexpr int64_t kRowsTogether = 64;  // scored by all threads at once: as many as a step has logits

// A model that is loaded when it is needed and dropped when the other one's turn has come.
class Side {
 public:
  Side(session::LoadOptions options, int64_t context, const SessionLoader& loader)
      : options_(std::move(options)), loader_(loader) {
    options_.context = options_.kv_tokens = context;
    options_.max_rows = std::min(options_.max_rows, context);
    options_.max_sequences = 1;
    options_.prefix_reuse = false;
  }

  session::Session& get() {
    if (session_ == nullptr) {
      session_ = loader_(options_);
      if (facts_.is_null()) describe();
    }
    return *session_;
  }
  void drop() { session_.reset(); }
  const ordered_json& facts() const { return facts_; }  // after the first get()
  const session::LoadOptions& options() const { return options_; }
  int64_t vocabulary() { return get().checkpoint().config().vocabulary_size; }

 private:
  void describe() {
    facts_ = {{"path", options_.model},
              {"hash", model_hash(session_->checkpoint(), options_)},
              {"numerics_key", session_->engine().numerics_key()},
              {"weights_bytes", session_->memory().weights_bytes}};
  }

  session::LoadOptions options_;
  const SessionLoader& loader_;
  std::unique_ptr<session::Session> session_;
  ordered_json facts_;
};

// Scores rows as they come, a few dozen at a time on the team's threads; sums them in their order.
class RowScorer {
 public:
  RowScorer(ThreadTeam& team, int64_t vocabulary, QualitySums& sums)
      : team_(team), vocabulary_(size_t(vocabulary)), sums_(sums), logits_(size_t(kRowsTogether * vocabulary)) {}

  // reference: [vocabulary], alive until the flush, or null.
  void add(std::span<const float> logits, const float* reference, int32_t target, int64_t bytes) {
    std::copy(logits.begin(), logits.end(), logits_.begin() + int64_t(rows_.size() * vocabulary_));
    rows_.push_back({reference, target, bytes, {}});
    if (int64_t(rows_.size()) == kRowsTogether) flush();
  }

  void flush() {
    team_.parallel_for(int64_t(rows_.size()), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        Row& row = rows_[size_t(i)];
        const std::span<const float> logits(logits_.data() + size_t(i) * vocabulary_, vocabulary_);
        row.score = row.reference == nullptr ? score_row(logits, row.target)
                                             : score_row(logits, std::span(row.reference, vocabulary_), row.target);
      }
    });
    for (const Row& row : rows_) {
      if (!std::isfinite(row.score.nll) || !std::isfinite(row.score.divergence))
        fail("The logits before token id {} are not finite: the model's weights are damaged or overflow in this type.",
             row.target);
      sums_.add(row.score, row.bytes);
    }
    rows_.clear();
  }

 private:
  struct Row {
    const float* reference;
    int32_t target;
    int64_t bytes;
    RowScore score;
  };
  ThreadTeam& team_;
  size_t vocabulary_;
  QualitySums& sums_;
  std::vector<float> logits_;  // [kRowsTogether, vocabulary]
  std::vector<Row> rows_;
};

class Evaluator {
 public:
  Evaluator(const EvaluationOptions& options, const EvaluationText& text, const SessionLoader& loader,
            const ProgressCallback& progress)
      : options_(options), text_(text), progress_(progress), model_(options.model, options.context, loader) {
    const int64_t length = options.context - int64_t(text.prefix.size());
    CHECK(length >= kLeastTextOfWindow && options.stride <= options.context)
        << options.context << ' ' << options.stride;
    stride_ = options.stride > 0 ? std::min(options.stride, length) : length;
    windows_ = plan_windows(int64_t(text.ids.size()), length, stride_, !text.prefix.empty());
    if (options.reference) reference_.emplace(*options.reference, options.context, loader);
    meet();
    resume();
  }

  bool run(const std::atomic<bool>& interrupted) {
    const int64_t total = int64_t(windows_.size());
    Progress progress{"evaluating", tokens_of(0, done_), tokens_of(0, total), "tokens"};
    while (done_ < total) {
      if (interrupted.load(std::memory_order_relaxed)) return false;
      const int64_t end = end_of_turn(done_);
      if (!run_turn(done_, end, interrupted)) return false;
      progress.done += tokens_of(done_, end);
      done_ = end;
      save();
      if (progress_) progress_(progress);
    }
    return true;
  }

  ordered_json report() const {
    const auto model_numbers = [&](const Mean& nll) {
      const double perplexity = std::exp(nll.value);
      return ordered_json{{"perplexity", perplexity},
                          {"perplexity_standard_error", perplexity * nll.standard_error},
                          {"nll", nll.value},
                          {"nll_standard_error", nll.standard_error},
                          {"bits_per_byte", nll.value * double(sums_.tokens()) / std::log(2.0) /
                                                double(std::max<int64_t>(sums_.bytes(), 1))}};
    };
    ordered_json report = {{"schema", kReportSchema},         {"text", text_facts()},
                           {"context", options_.context},     {"stride", stride_},
                           {"windows", windows_.size()},      {"windows_done", done_},
                           {"scored_tokens", sums_.tokens()}, {"scored_bytes", sums_.bytes()},
                           {"model", model_.facts()},         {"reference", nullptr}};
    if (sums_.tokens() == 0) return report;  // interrupted before there was anything to say
    report["model"].update(model_numbers(sums_.nll()));
    if (!reference_) return report;
    report["reference"] = reference_->facts();
    report["reference"].update(model_numbers(sums_.reference_nll()));
    const Mean divergence = sums_.divergence(), agreement = sums_.agreement(), difference = sums_.nll_difference();
    report["against_reference"] = {{"kl_divergence_mean", divergence.value},
                                   {"kl_divergence_standard_error", divergence.standard_error},
                                   {"kl_divergence_p99", sums_.divergence_percentile(0.99)},
                                   {"kl_divergence_max", sums_.largest_divergence()},
                                   {"top1_agreement", agreement.value},
                                   {"top1_agreement_standard_error", agreement.standard_error},
                                   {"perplexity_ratio", std::exp(difference.value)},
                                   {"nll_difference", difference.value},
                                   {"nll_difference_standard_error", difference.standard_error}};
    return report;
  }

 private:
  // Loads both for the first time, one after the other if they do not fit side by side, and checks that they belong
  // together.
  void meet() {
    vocabulary_ = model_.vocabulary();
    team_.emplace(model_.get().engine().machine().info().threads);
    for (const int32_t id : text_.ids)
      if (id >= vocabulary_)
        fail("{}: its tokenizer gives the id {}, but the model's vocabulary has {} tokens.", options_.model.model, id,
             vocabulary_);
    if (!reference_) return;
    take_turns_ = options_.take_turns || !reference_fits();
    if (take_turns_) model_.drop();
    if (const int64_t other = reference_->vocabulary(); other != vocabulary_)
      fail("{}: has {} tokens in its vocabulary, {} has {}: their distributions cannot be compared.",
           options_.reference->model, other, options_.model.model, vocabulary_);
    if (reference_->facts() == model_.facts()) reference_.reset();  // the same computation: nothing to compare
  }

  bool reference_fits() const {
    const session::LoadOptions& options = reference_->options();
    const session::MemoryPlan plan = session::plan_memory(options, options_.context);
    return plan.total_bytes + options_.context * vocabulary_ * int64_t(sizeof(float)) < system_memory().available_bytes;
  }

  int64_t tokens_of(int64_t begin, int64_t end) const {
    int64_t tokens = 0;
    for (int64_t i = begin; i < end; ++i) tokens += windows_[size_t(i)].end - windows_[size_t(i)].begin;
    return tokens;
  }

  int64_t scored_bytes(int64_t window) const {
    return (windows_[size_t(window)].end - windows_[size_t(window)].scored) * vocabulary_ * int64_t(sizeof(float));
  }

  // One window; where each turn costs two loadings, as many as a quarter of the free memory holds the logits of.
  int64_t end_of_turn(int64_t begin) const {
    int64_t end = begin + 1;
    if (!take_turns_) return end;
    int64_t bytes = scored_bytes(begin);
    for (const int64_t limit = system_memory().available_bytes / 4; end < int64_t(windows_.size()); ++end) {
      bytes += scored_bytes(end);
      if (bytes > limit) break;
    }
    return end;
  }

  using ScoredRow = std::function<void(int64_t target, std::span<const float>)>;

  // Calls row(index of the target in the text, logits before it) for what the window scores. False: interrupted.
  bool compute(session::Session& session, const EvaluationWindow& window, const std::atomic<bool>& interrupted,
               const ScoredRow& row) const {
    std::vector<int32_t> ids = text_.prefix;
    ids.insert(ids.end(), text_.ids.begin() + window.begin, text_.ids.begin() + window.end);
    const int64_t first = window.begin + 1 - int64_t(text_.prefix.size());  // the target of position 0
    return session.engine().logits(
        ids, 0,
        [&](int64_t position, std::span<const float> logits) {
          const int64_t target = first + position;
          if (target >= window.scored && target < window.end) row(target, logits);
        },
        [&](int64_t) { return !interrupted; });
  }

  // False: interrupted, and the sums are as before.
  bool run_turn(int64_t begin, int64_t end, const std::atomic<bool>& interrupted) {
    std::vector<float> expected;  // the reference's logits of every row that is scored
    if (reference_) {
      if (take_turns_) model_.drop();
      int64_t bytes = 0;
      for (int64_t i = begin; i < end; ++i) bytes += scored_bytes(i);
      expected.reserve(size_t(bytes) / sizeof(float));
      const ScoredRow keep = [&](int64_t, std::span<const float> logits) {
        expected.insert(expected.end(), logits.begin(), logits.end());
      };
      for (int64_t i = begin; i < end; ++i)
        if (!compute(reference_->get(), windows_[size_t(i)], interrupted, keep)) return false;
      if (take_turns_) reference_->drop();
    }
    session::Session& session = model_.get();
    QualitySums sums = sums_;
    RowScorer scorer(*team_, vocabulary_, sums);
    const float* reference = expected.empty() ? nullptr : expected.data();
    const ScoredRow score = [&](int64_t target, std::span<const float> logits) {
      scorer.add(logits, reference, text_.ids[size_t(target)], text_.bytes[size_t(target)]);
      if (reference != nullptr) reference += vocabulary_;
    };
    for (int64_t i = begin; i < end; ++i)
      if (!compute(session, windows_[size_t(i)], interrupted, score)) return false;
    scorer.flush();
    sums_ = std::move(sums);
    return true;
  }

  ordered_json text_facts() const {
    return {{"path", text_.path}, {"hash", fmt::format("{:016x}", text_.hash)}, {"tokens", text_.ids.size()}};
  }

  // What must be the same when a state goes on. Threads and memory may change: they change no bit.
  ordered_json identity() const {
    const auto side = [](const Side& s) {
      ordered_json facts = s.facts();
      facts.erase("path"), facts.erase("weights_bytes");
      return facts;
    };
    ordered_json text = text_facts();
    text.erase("path");
    return {{"text", text},
            {"context", options_.context},
            {"stride", stride_},
            {"model", side(model_)},
            {"reference", reference_ ? side(*reference_) : ordered_json(nullptr)}};
  }

  void save() const {
    if (options_.state_path.empty()) return;
    ordered_json state = {{"schema", kStateSchema}, {"of", identity()}, {"windows_done", done_}};
    state["sums"] = sums_.state();
    write_text_file(options_.state_path, state.dump(1) + "\n");
  }

  void resume() {
    if (options_.state_path.empty() || !is_there(options_.state_path)) return;
    const std::string& path = options_.state_path;
    try {
      const ordered_json state = checkpoint::parse_or_discard(read_text_file(path));
      if (const ordered_json& schema = state.at("schema"); schema != kStateSchema)
        fail("{}: its schema is {}, and this version goes on from {} only; give another --resume file.", path,
             schema.dump(), kStateSchema);
      const ordered_json mine = identity();
      for (const auto& [key, value] : mine.items())
        if (state.at("of").at(key) != value)
          fail("{}: belongs to another evaluation: its {} is {}, but here it is {}; give another --resume file.", path,
               key, state.at("of").at(key).dump(), value.dump());
      try {
        done_ = session::integer_value("windows_done", state.at("windows_done"), 0, int64_t(windows_.size()));
        sums_ = QualitySums::from_state(state.at("sums"));
      } catch (const Error& error) {
        fail("{}: is damaged: {}; give another --resume file.", path, error.what());
      }
    } catch (const ordered_json::exception&) {
      fail("{}: is not the state of an evaluation; give another --resume file.", path);
    }
    int64_t scored = 0;
    for (int64_t i = 0; i < done_; ++i) scored += windows_[size_t(i)].end - windows_[size_t(i)].scored;
    if (scored != sums_.tokens())
      fail("{}: is damaged: {} windows and {} tokens do not go together; give another --resume file.", path, done_,
           sums_.tokens());
  }

  const EvaluationOptions& options_;
  const EvaluationText& text_;
  const ProgressCallback& progress_;
  Side model_;
  std::optional<Side> reference_;
  std::optional<ThreadTeam> team_;  // scores rows: as many threads as the model has
  bool take_turns_ = false;
  int64_t stride_ = 0, vocabulary_ = 0, done_ = 0;
  std::vector<EvaluationWindow> windows_;
  QualitySums sums_;
};

}  // namespace

std::vector<EvaluationWindow> plan_windows(int64_t ids, int64_t length, int64_t stride, bool prefixed) {
  CHECK(length >= 1 && stride >= 1 && stride <= length) << length << ' ' << stride;
  std::vector<EvaluationWindow> windows;
  int64_t scored = 0;
  for (int64_t begin = 0; scored < ids; begin += stride) {
    const EvaluationWindow window{begin, std::min(ids, begin + length), std::max(scored, begin + (prefixed ? 0 : 1))};
    scored = window.end;
    if (window.scored < window.end) windows.push_back(window);
  }
  return windows;
}

EvaluationText read_evaluation_text(const std::string& path, const text::Tokenizer& tokenizer, int64_t max_tokens) {
  EvaluationText text;
  text.path = path;
  const std::string content = read_text_file(path, kLargestText);
  if (!text::is_valid_utf8(content)) fail("{}: is not a text in UTF-8.", path);
  text.hash = Hash64().add(content).value();
  text.ids = tokenizer.encode(content, {.add_special = false, .parse_special = false});
  if (max_tokens > 0 && int64_t(text.ids.size()) > max_tokens) text.ids.resize(size_t(max_tokens));
  if (text.ids.size() < 2) fail("{}: has too few tokens to evaluate a model on.", path);
  const std::vector<int32_t> special = tokenizer.encode("", {.add_special = true});
  if (!special.empty() && tokenizer.bos() && special.front() == *tokenizer.bos()) text.prefix = {special.front()};
  text.bytes.reserve(text.ids.size());
  for (const int32_t id : text.ids) text.bytes.push_back(int32_t(tokenizer.token_bytes(id, false, false).size()));
  return text;
}

Evaluation evaluate(const EvaluationOptions& options, const EvaluationText& text, const SessionLoader& loader,
                    const ProgressCallback& progress, const std::atomic<bool>& interrupted) {
  Evaluator evaluator(options, text, loader, progress);
  const bool finished = evaluator.run(interrupted);
  return {evaluator.report(), finished};
}

}  // namespace updraft::measure
