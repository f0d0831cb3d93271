#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "engine/batch.h"
#include "engine/scoring.h"

namespace updraft::engine {
namespace {

// Rows whose logits a step can hold beside those of every decoding sequence: enough for scoring to be as fast as
// prefill.
constexpr int64_t kScoredRows = 64;

// The positions that a row may look back in every layer; 0: some layer sees all.
int64_t common_window(const checkpoint::ModelConfig& config) {
  int64_t window = 0;
  for (int layer_window : config.windows) {
    if (layer_window == 0) return 0;
    window = std::max<int64_t>(window, layer_window);
  }
  return window;
}

EngineOptions resolve(EngineOptions options, const checkpoint::ModelConfig& config, int64_t page_tokens,
                      bool batch_invariant) {
  CHECK(options.max_rows > 0 && options.unbounded_tokens > 0 && options.max_sequences > 0 && options.kv_tokens >= 0 &&
        options.max_context >= 0);
  if (options.kv_tokens == 0) options.kv_tokens = options.max_context > 0 ? options.max_context : config.max_context;
  options.kv_tokens = (options.kv_tokens + page_tokens - 1) / page_tokens * page_tokens;
  if (options.kv_tokens > std::numeric_limits<int32_t>::max()) {
    fail("A KV cache of {} tokens is more than Updraft can count; lower --context.", options.kv_tokens);
  }
  if (options.max_context == 0) options.max_context = config.max_context;
  options.max_context = std::min(options.max_context, options.kv_tokens);
  options.max_sequences = std::min(options.max_sequences, options.max_rows);
  options.speculation.on &= batch_invariant;
  return options;
}

int64_t output_rows(const EngineOptions& options) {
  return std::min(options.max_rows, std::max(options.max_sequences, kScoredRows));
}

std::string_view name(checkpoint::RopeKind kind) {
  switch (kind) {
    case checkpoint::RopeKind::kDefault:
      return "default";
    case checkpoint::RopeKind::kLinear:
      return "linear";
    case checkpoint::RopeKind::kDynamic:
      return "dynamic";
    case checkpoint::RopeKind::kYarn:
      return "yarn";
    case checkpoint::RopeKind::kLlama3:
      return "llama3";
    case checkpoint::RopeKind::kLongrope:
      return "longrope";
  }
  return "default";
}

}  // namespace

struct Engine::Impl {
  Impl(std::unique_ptr<compute::Machine> its_machine, model::Decoder its_decoder, const EngineOptions& asked)
      : machine(std::move(its_machine)),
        info(machine->info()),
        decoder(std::move(its_decoder)),
        options(resolve(asked, decoder.config(), info.page_tokens, info.batch_invariant)),
        workspace(decoder.make_workspace(*machine, options.max_rows, output_rows(options), options.kv_dtype,
                                         options.kv_tokens / info.page_tokens)),
        pool(options.kv_tokens / info.page_tokens, info.page_tokens),
        pager(pool, common_window(decoder.config()), options.prefix_reuse && info.batch_invariant),
        ropes(decoder.config()),
        builder(*machine, decoder, workspace,
                {options.max_rows, output_rows(options), options.max_sequences, pool.pages_for(options.max_context)}),
        batch(builder, workspace, pool, pager, ropes,
              {.limits = {options.max_rows, options.max_sequences, output_rows(options)},
               .max_context = options.max_context,
               .may_preempt = info.batch_invariant,
               .unbounded_tokens = options.unbounded_tokens,
               .speculation = options.speculation}) {}

  void publish_finished();

  std::unique_ptr<compute::Machine> machine;
  compute::MachineInfo info;
  model::Decoder decoder;
  EngineOptions options;
  model::Workspace workspace;

  // Of the thread that steps.
  KvPool pool;
  Pager pager;
  RopeTableCache ropes;
  StepBuilder builder;
  Batch batch;

  // Of every thread, under the mutex. A request that is known and has no answers yet is in progress.
  mutable std::mutex mutex;
  std::vector<std::unique_ptr<Group>> inbox;
  std::vector<RequestId> cancelled;
  std::unordered_map<RequestId, std::optional<std::vector<Answer>>> requests;
  int64_t unfinished = 0;
  RequestId next_id = 1;
  EngineStatistics statistics;
};

void Engine::Impl::publish_finished() {
  std::vector<std::unique_ptr<Group>> done = batch.take_finished();
  const BatchStatistics of_batch = batch.statistics();
  std::lock_guard lock(mutex);
  for (const std::unique_ptr<Group>& group : done) {
    std::vector<Answer> answers;
    for (Sequence& sequence : group->sequences) answers.push_back(std::move(sequence.answer));
    requests[group->id] = std::move(answers);
    --unfinished;
  }
  statistics = {.steps = of_batch.steps,
                .rows = of_batch.rows,
                .running = of_batch.running,
                .waiting = of_batch.waiting,
                .preemptions = of_batch.preemptions,
                .pages_total = pool.total(),
                .pages_free = pool.free(),
                .pages_cached = pool.cached(),
                .prefix_hit_tokens = of_batch.prefix_hit_tokens,
                .prompt_tokens = of_batch.prompt_tokens,
                .generated_tokens = of_batch.generated_tokens,
                .proposed_tokens = of_batch.proposed_tokens,
                .accepted_tokens = of_batch.accepted_tokens};
}

Engine::Engine(std::unique_ptr<compute::Machine> machine, model::Decoder decoder, EngineOptions options)
    : impl_(std::make_unique<Impl>(std::move(machine), std::move(decoder), options)) {
  impl_->publish_finished();  // the first statistics
}

Engine::~Engine() = default;

RequestId Engine::submit(Request request) {
  std::string refusal = refuse(request, impl_->decoder.config().vocabulary_size, impl_->options.max_context);
  auto group = std::make_unique<Group>();
  group->submitted = Clock::now();
  std::lock_guard lock(impl_->mutex);
  const RequestId id = group->id = impl_->next_id++;
  if (!refusal.empty()) {
    Answer answer;
    answer.finish_reason = FinishReason::kError;
    answer.error = std::move(refusal);
    answer.prompt_tokens = int64_t(request.ids.size());
    impl_->requests[id] = std::vector<Answer>{std::move(answer)};
    return id;
  }
  group->request = std::move(request);
  impl_->requests[id] = std::nullopt;
  impl_->inbox.push_back(std::move(group));
  ++impl_->unfinished;
  return id;
}

void Engine::cancel(RequestId id) {
  std::lock_guard lock(impl_->mutex);
  auto known = impl_->requests.find(id);
  if (known != impl_->requests.end() && !known->second) impl_->cancelled.push_back(id);
}

bool Engine::idle() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->unfinished == 0;
}

bool Engine::step(const model::StepWatch& watch) {
  std::vector<std::unique_ptr<Group>> arrived;
  std::vector<RequestId> cancelled;
  {
    std::lock_guard lock(impl_->mutex);
    if (impl_->unfinished == 0) return false;
    arrived.swap(impl_->inbox);
    cancelled.swap(impl_->cancelled);
  }
  for (std::unique_ptr<Group>& group : arrived) impl_->batch.accept(std::move(group));
  for (RequestId id : cancelled) impl_->batch.cancel(id);
  impl_->batch.step(Clock::now(), watch);
  impl_->publish_finished();
  return true;
}

bool Engine::finished(RequestId id) const {
  std::lock_guard lock(impl_->mutex);
  auto known = impl_->requests.find(id);
  return known != impl_->requests.end() && known->second.has_value();
}

std::vector<Answer> Engine::take(RequestId id) {
  std::lock_guard lock(impl_->mutex);
  auto known = impl_->requests.find(id);
  CHECK(known != impl_->requests.end() && known->second.has_value()) << "request " << id << " is not finished";
  std::vector<Answer> answers = std::move(*known->second);
  impl_->requests.erase(known);
  return answers;
}

std::vector<Answer> Engine::run(Request request) {
  const RequestId id = submit(std::move(request));
  while (!finished(id)) step();
  return take(id);
}

bool Engine::logits(std::span<const int32_t> ids, int64_t chunk,
                    const std::function<void(int64_t position, std::span<const float>)>& row,
                    const model::StepWatch& watch) {
  const int64_t vocabulary = impl_->decoder.config().vocabulary_size;
  if (ids.empty()) fail("Logits were asked for no ids; give at least one.");
  for (int32_t id : ids) {
    if (id < 0 || id >= vocabulary) fail("Id {} is outside the vocabulary of {}.", id, vocabulary);
  }
  if (int64_t(ids.size()) > impl_->options.kv_tokens) {
    fail("{} ids are more than the KV cache's {} tokens; raise --context.", ids.size(), impl_->options.kv_tokens);
  }
  const int64_t most = output_rows(impl_->options);
  const ScoringParts parts{*impl_->machine, impl_->workspace, impl_->builder,
                           impl_->pager,    impl_->ropes,     impl_->options.max_context};
  return score(parts, ids, chunk > 0 ? std::min(chunk, most) : most, row, watch);
}

EngineStatistics Engine::statistics() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->statistics;
}

const compute::Machine& Engine::machine() const { return *impl_->machine; }
compute::Machine& Engine::machine() { return *impl_->machine; }
const model::Decoder& Engine::decoder() const { return impl_->decoder; }
const EngineOptions& Engine::options() const { return impl_->options; }
model::Workspace& Engine::workspace() { return impl_->workspace; }

std::string Engine::numerics_key() const {
  // One word a value: "int4,head:int8".
  const auto word = [](std::string text) {
    for (size_t at; (at = text.find(", ")) != std::string::npos;) text.erase(at + 1, 1);
    std::replace(text.begin(), text.end(), ' ', ':');
    return text;
  };
  const model::DecoderWeights& weights = impl_->decoder.weights();
  return fmt::format("machine={} path={} devices=1 packing={} activations={} kv={} rope={}", impl_->info.name,
                     impl_->info.path, word(weights.packing_names()), word(weights.activation_names(impl_->info)),
                     compute::name(impl_->options.kv_dtype), name(impl_->decoder.config().rope.kind));
}

}  // namespace updraft::engine
