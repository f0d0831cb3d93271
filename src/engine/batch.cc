#include "engine/batch.h"

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "base/check.h"

namespace updraft::engine {
namespace {

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Timings make_timings(const Sequence& sequence) {
  Timings timings = sequence.answer.timings;  // its token_times_s
  const Clock::time_point submitted = sequence.group->submitted;
  if (sequence.first_scheduled) timings.queued_s = seconds(submitted, *sequence.first_scheduled);
  if (sequence.first_token) {
    timings.time_to_first_token_s = seconds(submitted, *sequence.first_token);
    timings.prefill_s = seconds(*sequence.first_scheduled, *sequence.first_token);
    timings.decode_s = seconds(*sequence.first_token, *sequence.last_token);
  }
  return timings;
}

}  // namespace

Batch::Batch(StepBuilder& builder, model::Workspace& workspace, KvPool& pool, Pager& pager, RopeTableCache& ropes,
             const BatchOptions& options)
    : builder_(builder), workspace_(workspace), pool_(pool), pager_(pager), ropes_(ropes), options_(options) {
  const size_t sequences = size_t(options.limits.max_sequences);
  running_.reserve(sequences);
  running_views_.reserve(sequences);
  waiting_views_.reserve(sequences);
  candidates_.reserve(sequences);
  work_.reserve(sequences);
}

void Batch::enqueue(Sequence& sequence) {
  auto place = std::lower_bound(waiting_.begin(), waiting_.end(), &sequence,
                                [](const Sequence* a, const Sequence* b) { return a->turn < b->turn; });
  waiting_.insert(place, &sequence);
}

void Batch::accept(std::unique_ptr<Group> group) {
  const Request& request = group->request;
  const int64_t prompt_tokens = int64_t(request.ids.size());
  const int64_t most = std::min(request.context.value_or(options_.max_context), options_.max_context);
  group->limit = std::min(most, prompt_tokens + std::min(most, request.max_new_tokens.value_or(most)));
  group->bounded = request.max_new_tokens.has_value() || !options_.may_preempt;
  group->context = request.context.value_or(request.max_new_tokens ? group->limit : options_.max_context);
  group->rope_table_key = ropes_.key(group->context);
  group->sequences.resize(size_t(request.n));
  group->unfinished = request.n;
  any_deadline_ |= request.deadline.has_value();
  Group& here = *group;
  groups_.emplace(here.id, std::move(group));
  for (int32_t i = 0; i < int32_t(here.sequences.size()); ++i) {
    Sequence& sequence = here.sequences[size_t(i)];
    sequence.group = &here;
    sequence.index = i;
    sequence.answer.prompt_tokens = prompt_tokens;
    sequence.turn = {statistics_.steps - kStepsPerPriority * here.request.priority, arrivals_++};
    sequence.ids = here.request.ids;
    statistics_.prompt_tokens += prompt_tokens;
    enqueue(sequence);
  }
  for (Sequence& sequence : here.sequences) {
    if (here.limit == prompt_tokens) finish(sequence, FinishReason::kLength);
  }
}

void Batch::cancel(RequestId id) {
  auto found = groups_.find(id);
  if (found == groups_.end()) return;
  Group& group = *found->second;  // finish() of the last one moves it away, but does not destroy it
  for (Sequence& sequence : group.sequences) {
    if (!sequence.finished()) finish(sequence, FinishReason::kCancelled);
  }
}

void Batch::end_late_ones(Clock::time_point now) {
  if (!any_deadline_) return;
  any_deadline_ = false;
  std::vector<Sequence*> late;
  for (auto& [id, group] : groups_) {
    if (!group->request.deadline) continue;
    any_deadline_ = true;
    if (*group->request.deadline > now) continue;
    for (Sequence& sequence : group->sequences) {
      if (!sequence.finished()) late.push_back(&sequence);
    }
  }
  for (Sequence* sequence : late) finish(*sequence, FinishReason::kDeadline);
}

int64_t Batch::first_reservation(const Sequence& sequence) const {
  const Group& group = *sequence.group;
  if (group.bounded) return group.limit;
  return std::min(group.limit, int64_t(sequence.ids.size()) + options_.unbounded_tokens);
}

// Nothing: a sibling is computing the same prompt; it is cheaper to wait for its pages.
std::optional<SharedStart> Batch::find_start(const Sequence& sequence) const {
  const Group& group = *sequence.group;
  const int64_t tokens = first_reservation(sequence);
  const bool at_the_prompt = sequence.ids.size() == group.request.ids.size();
  bool sibling_prefills = false;
  for (const Sequence& sibling : group.sequences) {
    if (!sibling.running || !at_the_prompt) continue;
    if (auto start = pager_.fork_start(sequence.ids, tokens, sibling.table, sibling.computed)) return start;
    sibling_prefills |= sibling.computed + 1 < int64_t(group.request.ids.size());
  }
  if (sibling_prefills) return std::nullopt;
  return pager_.find_start(sequence.ids, tokens, group.rope_table_key);
}

// Guesses for its next step: within its limit and the pages that are promised to it.
void Batch::speculate(Sequence& sequence) {
  sequence.proposed.clear();
  if (!sequence.proposer || sequence.pending() != 1 || !sequence.sampler->sees_ahead(sequence.ids)) return;
  const int64_t end = std::min(sequence.group->limit - 1, sequence.table.promised * pool_.page_tokens());
  const int64_t most = end - int64_t(sequence.ids.size());
  if (most > 0) sequence.proposer->propose(sequence.ids, most, int64_t(running_.size()), sequence.proposed);
}

void Batch::view_running() {
  running_views_.clear();
  for (Sequence* sequence : running_) {
    const Group& group = *sequence->group;
    RunningView view;
    view.turn = sequence->turn;
    view.pending = sequence->pending();
    speculate(*sequence);
    view.proposed = int64_t(sequence->proposed.size());
    view.may_be_preempted = !group.bounded;
    if (int64_t(sequence->ids.size()) > sequence->table.promised * pool_.page_tokens()) {
      view.pages_to_grow = pool_.pages_for(first_reservation(*sequence)) - sequence->table.promised;
    }
    running_views_.push_back(view);
  }
  const bool any_grows = std::any_of(running_views_.begin(), running_views_.end(),
                                     [](const RunningView& view) { return view.pages_to_grow > 0; });
  for (size_t i = 0; any_grows && i < running_.size(); ++i) {
    if (running_views_[i].may_be_preempted) {
      running_views_[i].pages_if_preempted = pager_.freed_by_release(running_[i]->table);
    }
  }
}

void Batch::view_waiting() {
  waiting_views_.clear();
  candidates_.clear();
  const int64_t places = options_.limits.max_sequences - int64_t(running_.size());
  int64_t asked = 0;
  for (Sequence* sequence : waiting_) {
    // A group's siblings that wait for their first are passed over; the search among them is bounded.
    if (int64_t(candidates_.size()) >= places || ++asked > 4 * options_.limits.max_sequences + 1024) break;
    auto start = find_start(*sequence);
    if (!start) continue;
    candidates_.push_back(sequence);
    waiting_views_.push_back({int64_t(sequence->ids.size()) - start->computed, start->cost});
  }
}

void Batch::give_back(Sequence& sequence) {
  if (!sequence.running) return;
  pager_.remember_end(sequence.table, sequence.ids, sequence.computed, sequence.group->rope_table_key);
  pager_.release(sequence.table);
  sequence.computed = 0;
  sequence.running = false;
  running_.erase(std::find(running_.begin(), running_.end(), &sequence));
}

void Batch::preempt(Sequence& sequence) {
  give_back(sequence);
  ++statistics_.preemptions;
  enqueue(sequence);
}

// False: what the plan counted on was taken by one admitted before it in this step; it keeps waiting.
bool Batch::admit(Sequence& sequence, Clock::time_point now) {
  Group& group = *sequence.group;
  const auto start = find_start(sequence);
  if (!start || start->cost > pool_.available()) return false;
  try {
    if (sequence.rope_table < 0) {
      sequence.rope_table = ropes_.acquire(group.context, std::max(group.limit, options_.max_context));
    }
    if (!sequence.sampler) {
      sequence.ids.reserve(size_t(group.bounded ? group.limit : int64_t(sequence.ids.size()) + 256));
      sequence.sampler.emplace(group.request, sequence.index);
      if (options_.speculation.on && group.request.speculate) {
        sequence.proposer.emplace(options_.speculation, int64_t(group.request.ids.size()));
      }
    }
  } catch (const std::exception& error) {
    finish(sequence, FinishReason::kError, std::string("The request could not be started: ") + error.what());
    return false;
  }
  const auto copy =
      pager_.admit(sequence.table, *start, sequence.ids, first_reservation(sequence), group.rope_table_key);
  if (copy) workspace_.kv->copy_pages(std::array{copy->from}, std::array{copy->to});
  sequence.computed = start->computed;
  if (!sequence.first_scheduled) {
    sequence.first_scheduled = now;
    sequence.answer.cached_tokens = start->computed;
    statistics_.prefix_hit_tokens += start->computed;
  }
  sequence.running = true;
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &sequence));
  running_.push_back(&sequence);
  return true;
}

// Turns the plan into work_, and work_ into the step's rows.
void Batch::build() {
  builder_.clear();
  for (Work& work : work_) {
    Sequence& sequence = *work.sequence;
    pager_.cover(sequence.table, sequence.computed + work.tokens + work.proposed);
    builder_.add_rows(sequence.ids, sequence.computed, work.tokens, sequence.table.pages, sequence.rope_table);
    work.chooses = work.tokens == sequence.pending();
    if (!work.chooses) continue;
    builder_.add_output_of_last_row(sequence.sampler->rules(sequence.ids));
    if (work.proposed == 0) continue;
    const auto proposed = std::span(sequence.proposed).first(size_t(work.proposed));
    rules_ahead_.clear();
    sequence.sampler->rules_ahead(sequence.ids, proposed, rules_ahead_);
    for (size_t i = 0; i < proposed.size(); ++i) builder_.add_proposed_row(proposed[i], rules_ahead_[i]);
  }
}

void Batch::step(Clock::time_point now, const model::StepWatch& watch) {
  end_late_ones(now);
  view_running();
  view_waiting();
  plan_step(running_views_, waiting_views_, pool_.available(), options_.limits, plan_);
  work_.clear();
  const int32_t before = int32_t(running_.size());
  for (const Plan::Work& work : plan_.work) {
    if (work.index < before) work_.push_back({running_[size_t(work.index)], work.tokens, work.proposed, false});
  }
  std::vector<Sequence*> victims, grown;
  for (int32_t index : plan_.preempted) victims.push_back(running_[size_t(index)]);
  for (int32_t index : plan_.grown) grown.push_back(running_[size_t(index)]);
  for (Sequence* victim : victims) preempt(*victim);
  for (Sequence* sequence : grown) CHECK(pager_.grow(sequence->table, first_reservation(*sequence)));
  for (int64_t i = 0; i < plan_.admitted; ++i) {
    Sequence& sequence = *candidates_[size_t(i)];
    if (!admit(sequence, now)) break;
    for (const Plan::Work& work : plan_.work) {
      if (work.index == before + i) work_.push_back({&sequence, std::min(work.tokens, sequence.pending()), 0, false});
    }
  }
  if (work_.empty()) return;
  build();
  const std::optional<compute::StepStatus> status = builder_.run(ropes_.tables(), watch);
  if (!status) return;  // nothing is committed: the same rows are computed again when their sequences come next
  ++statistics_.steps;
  statistics_.rows += builder_.rows();
  if (status->ok) {
    commit();
  } else {
    fail_running(status->error);
  }
}

void Batch::commit() {
  const Clock::time_point now = Clock::now();
  size_t output = 0;
  for (const Work& work : work_) {
    commit_rows(*work.sequence, work.tokens);
    if (!work.chooses) continue;
    const std::span<const compute::Sample> samples =
        std::span(builder_.samples()).subspan(output, size_t(1 + work.proposed));
    output += samples.size();
    commit_samples(work, samples, now);
  }
}

// `rows` more positions of the sequence are computed.
void Batch::commit_rows(Sequence& sequence, int64_t rows) {
  sequence.computed += rows;
  pager_.remember(sequence.table, sequence.ids, sequence.computed, sequence.group->rope_table_key);
  pager_.drop_behind_window(sequence.table, sequence.computed);
}

// Token after token as without speculation, as long as each is the one that was proposed. What the rows after the first
// wrong one left in the pages is not seen by any row, and the sequence's next rows overwrite it.
void Batch::commit_samples(const Work& work, std::span<const compute::Sample> samples, Clock::time_point now) {
  Sequence& sequence = *work.sequence;
  ++sequence.answer.steps;
  sequence.answer.proposed += work.proposed;
  statistics_.proposed_tokens += work.proposed;
  append(sequence, samples[0], now);
  for (size_t i = 1; i < samples.size() && !sequence.finished() && sequence.ids.back() == sequence.proposed[i - 1];
       ++i) {
    ++sequence.answer.accepted;
    ++statistics_.accepted_tokens;
    commit_rows(sequence, 1);
    append(sequence, samples[i], now);
  }
}

void Batch::append(Sequence& sequence, const compute::Sample& sample, Clock::time_point now) {
  if (sample.id < 0) {
    finish(sequence, FinishReason::kError,
           sample.undefined
               ? "The model's logits are not numbers: its weights hold NaN or infinities, or overflow in the type they "
                 "are kept in; --dtype f32 keeps every weight as it is."
               : "The request's rules forbid every token, so none could be chosen.");
    return;
  }
  const Request& request = sequence.group->request;
  if (!sequence.first_token) sequence.first_token = now;
  sequence.last_token = now;
  sequence.ids.push_back(sample.id);
  sequence.answer.ids.push_back(sample.id);
  sequence.answer.timings.token_times_s.push_back(seconds(sequence.group->submitted, now));
  ++statistics_.generated_tokens;
  const bool wanted = request.sampling.top_logprobs >= 0;
  if (wanted) sequence.answer.tokens.push_back({sample.id, sample.log_probability, sample.top});
  if (request.on_token) tell(sequence, wanted ? sequence.answer.tokens.back() : Token{sample.id, 0, {}});
  if (sequence.finished()) return;
  if (std::find(request.eos_ids.begin(), request.eos_ids.end(), sample.id) != request.eos_ids.end()) {
    finish(sequence, FinishReason::kEos);
  } else if (int64_t(sequence.ids.size()) >= sequence.group->limit) {
    finish(sequence, FinishReason::kLength);
  }
}

void Batch::tell(Sequence& sequence, const Token& token) {
  try {
    if (!sequence.group->request.on_token(sequence.index, token)) finish(sequence, FinishReason::kStop);
  } catch (const std::exception& error) {
    finish(sequence, FinishReason::kError, std::string("on_token threw: ") + error.what());
  } catch (...) {
    finish(sequence, FinishReason::kError, "on_token threw something that is not a std::exception.");
  }
}

void Batch::finish(Sequence& sequence, FinishReason reason, const std::string& error) {
  Group& group = *sequence.group;
  if (sequence.running) {
    give_back(sequence);
  } else {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &sequence));
  }
  if (sequence.rope_table >= 0) ropes_.release(sequence.rope_table);
  sequence.rope_table = -1;
  sequence.sampler.reset();
  sequence.answer.finish_reason = reason;
  sequence.answer.error = error;
  sequence.answer.timings = make_timings(sequence);
  if (--group.unfinished > 0) return;
  auto place = groups_.find(group.id);
  finished_.push_back(std::move(place->second));
  groups_.erase(place);
}

void Batch::fail_running(const std::string& error) {
  while (!running_.empty()) finish(*running_.back(), FinishReason::kError, error);
  pool_.forget_prefixes();
}

std::vector<std::unique_ptr<Group>> Batch::take_finished() { return std::exchange(finished_, {}); }

BatchStatistics Batch::statistics() const {
  BatchStatistics statistics = statistics_;
  statistics.running = int64_t(running_.size());
  statistics.waiting = int64_t(waiting_.size());
  return statistics;
}

}  // namespace updraft::engine
