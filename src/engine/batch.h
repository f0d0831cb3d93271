// Batch: every sequence that waits or runs, and the step over them: plan (who, how many tokens), run (the decoder's
// verbs), commit (append, finish, give pages back). It belongs to the one thread that steps; Engine is its door to
// others.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/pager.h"
#include "engine/rope_table_cache.h"
#include "engine/sequence.h"
#include "engine/speculation.h"
#include "engine/step_builder.h"

namespace updraft::engine {

struct BatchOptions {
  StepLimits limits;
  int64_t max_context = 0;
  bool may_preempt = true;  // needs the law of the house; without it all pages are reserved at admission
  int64_t unbounded_tokens = 256;
  SpeculationOptions speculation;
};

struct BatchStatistics {
  int64_t steps = 0, rows = 0, running = 0, waiting = 0, preemptions = 0;
  int64_t prefix_hit_tokens = 0, prompt_tokens = 0, generated_tokens = 0;
  int64_t proposed_tokens = 0, accepted_tokens = 0;
};

class Batch {
 public:
  Batch(StepBuilder&, model::Workspace&, KvPool&, Pager&, RopeTableCache&, const BatchOptions&);

  void accept(std::unique_ptr<Group>);  // a request that refuse() accepts
  void cancel(RequestId);
  void step(Clock::time_point now, const model::StepWatch& watch);
  bool empty() const { return groups_.empty(); }
  // Groups whose every answer is finished, since the last call.
  std::vector<std::unique_ptr<Group>> take_finished();
  BatchStatistics statistics() const;

 private:
  void enqueue(Sequence&);
  void end_late_ones(Clock::time_point now);
  void view_running();
  void view_waiting();
  int64_t first_reservation(const Sequence&) const;
  std::optional<SharedStart> find_start(const Sequence&) const;
  void preempt(Sequence&);
  bool admit(Sequence&, Clock::time_point now);
  void speculate(Sequence&);
  void build();
  void commit();
  struct Work;
  void commit_rows(Sequence&, int64_t rows);
  void commit_samples(const Work&, std::span<const compute::Sample>, Clock::time_point now);
  void append(Sequence&, const compute::Sample&, Clock::time_point now);
  void tell(Sequence&, const Token&);
  void finish(Sequence&, FinishReason, const std::string& error = {});
  void give_back(Sequence&);
  void fail_running(const std::string& error);

  StepBuilder& builder_;
  model::Workspace& workspace_;
  KvPool& pool_;
  Pager& pager_;
  RopeTableCache& ropes_;
  BatchOptions options_;

  std::map<RequestId, std::unique_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Group>> finished_;
  std::vector<Sequence*> waiting_;  // by turn
  std::vector<Sequence*> running_;
  uint64_t arrivals_ = 0;
  bool any_deadline_ = false;
  BatchStatistics statistics_;

  // Of the step in progress; kept for their capacity.
  std::vector<RunningView> running_views_;
  std::vector<WaitingView> waiting_views_;
  std::vector<Sequence*> candidates_;  // of waiting_, one for each of waiting_views_
  Plan plan_;
  struct Work {
    Sequence* sequence;
    int64_t tokens;    // of its ids
    int64_t proposed;  // rows after them: the first so many of sequence->proposed
    bool chooses;      // its last id's logits choose a token, those of each proposed one the token after it
  };
  std::vector<Work> work_;
  std::vector<compute::SampleRules> rules_ahead_;
};

}  // namespace updraft::engine
