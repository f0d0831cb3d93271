// The scheduler: who runs in the next step, and how many tokens of each. A pure function of the sequences and the free
// pages, so that its promises are tested by simulation: rows and pages are never overdrawn, every running sequence gets
// a row unless it waits for pages that others are going to return, the earliest turn always comes forward, and proposed
// rows get only what nobody else needs.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

namespace updraft::engine {

// Smaller goes first. turn = the step at which a request arrived - kStepsPerPriority * its priority: a higher priority
// overtakes, but nobody is overtaken for ever.
struct Turn {
  int64_t turn = 0;
  uint64_t arrival = 0;
  auto operator<=>(const Turn&) const = default;
};
inline constexpr int64_t kStepsPerPriority = 1024;

struct RunningView {
  Turn turn;
  int64_t pending = 1;   // ids not computed yet; 1 for a sequence that decodes
  int64_t proposed = 0;  // rows it would like beside the pending one, when it decodes: its pages have room for them
  int64_t pages_to_grow = 0;  // to be reserved before its next row; 0: it has all it needs
  bool may_be_preempted = false;
  int64_t pages_if_preempted = 0;  // become available, at least
};

struct WaitingView {
  int64_t pending = 1;  // ids to compute after the pages it would share
  int64_t pages = 0;    // available pages that its admission takes
};

struct StepLimits {
  int64_t max_rows = 0;
  int64_t max_sequences = 0;  // at most max_rows count
  int64_t max_outputs = 0;    // rows whose logits are computed; at least max_sequences
};

struct Plan {
  struct Work {
    int32_t index = 0;  // into running; running.size() + i: the i-th waiting one, just admitted
    int64_t tokens = 0;
    int64_t proposed = 0;  // rows beside them
  };
  std::vector<int32_t> preempted;  // indices into running: give back everything, wait again
  std::vector<int32_t> grown;      // indices into running: reserve pages_to_grow
  int64_t admitted = 0;            // the first so many of waiting
  std::vector<Work> work;          // sequences that decode come first, then prompts in turn
  void clear();
};

// `waiting` is sorted by turn; nobody overtakes at the door. Writes `out`; allocates only while its vectors are small.
void plan_step(std::span<const RunningView> running, std::span<const WaitingView> waiting, int64_t available_pages,
               const StepLimits&, Plan& out);

}  // namespace updraft::engine
