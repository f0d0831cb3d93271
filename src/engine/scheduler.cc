#include "engine/scheduler.h"

#include <algorithm>
#include <limits>

namespace updraft::engine {
namespace {

bool contains(const std::vector<int32_t>& indices, int32_t index) {
  return std::find(indices.begin(), indices.end(), index) != indices.end();
}

// The running sequence with the latest turn after `turn` that may be pre-empted and is not yet; -1: none.
int32_t find_victim(std::span<const RunningView> running, const Turn& turn, const std::vector<int32_t>& preempted) {
  int32_t victim = -1;
  for (int32_t i = 0; i < int32_t(running.size()); ++i) {
    const RunningView& view = running[size_t(i)];
    if (!view.may_be_preempted || view.turn <= turn || contains(preempted, i)) continue;
    if (victim < 0 || view.turn > running[size_t(victim)].turn) victim = i;
  }
  return victim;
}

// The index with the smallest turn above `after` among those for which `wanted` holds; -1: none.
template <class Wanted>
int32_t next_in_turn(std::span<const RunningView> running, const Turn& after, Wanted wanted) {
  int32_t best = -1;
  for (int32_t i = 0; i < int32_t(running.size()); ++i) {
    if (running[size_t(i)].turn <= after || !wanted(i)) continue;
    if (best < 0 || running[size_t(i)].turn < running[size_t(best)].turn) best = i;
  }
  return best;
}

constexpr Turn kBeforeAll{std::numeric_limits<int64_t>::min(), 0};

// Grants pages in turn; takes them from later turns where they may be taken. A sequence that gets none stalls: those
// who hold the pages have theirs reserved and end, or are earlier in turn and come to its rescue or take its place.
// Returns whether some sequence stalls.
bool grow_in_turn(std::span<const RunningView> running, int64_t& available, Plan& out) {
  bool stalled = false;
  auto wants = [&](int32_t i) { return running[size_t(i)].pages_to_grow > 0 && !contains(out.preempted, i); };
  for (int32_t i = next_in_turn(running, kBeforeAll, wants); i >= 0;
       i = next_in_turn(running, running[size_t(i)].turn, wants)) {
    const RunningView& view = running[size_t(i)];
    while (available < view.pages_to_grow) {
      const int32_t victim = find_victim(running, view.turn, out.preempted);
      if (victim < 0) break;
      out.preempted.push_back(victim);
      // What was granted to the victim in this plan comes before it in turn, so it was not granted anything.
      available += running[size_t(victim)].pages_if_preempted;
    }
    if (available >= view.pages_to_grow) {
      available -= view.pages_to_grow;
      out.grown.push_back(i);
    } else {
      stalled = true;
    }
  }
  return stalled;
}

// Pages that a stalled sequence waits for, or that were just taken from another, are not given to newcomers: then this
// is not called.
void admit_in_turn(int64_t running, std::span<const WaitingView> waiting, int64_t available_pages,
                   const StepLimits& limits, int64_t& rows, Plan& out) {
  int64_t sequences = running;
  for (const WaitingView& view : waiting) {
    if (sequences >= std::min(limits.max_sequences, limits.max_rows) || view.pages > available_pages) break;
    available_pages -= view.pages;
    const int64_t tokens = std::min(rows, view.pending);
    if (tokens > 0) out.work.push_back({int32_t(running + out.admitted), tokens, 0});
    rows -= tokens;
    ++sequences;
    ++out.admitted;
  }
}

// What is left of the rows, and of the rows whose logits can be computed.
void grant_proposed(std::span<const RunningView> running, const StepLimits& limits, int64_t rows, Plan& out) {
  int64_t left = std::min(rows, limits.max_outputs - int64_t(out.work.size()));
  for (Plan::Work& work : out.work) {
    if (left <= 0) return;
    if (work.index >= int32_t(running.size()) || running[size_t(work.index)].pending != 1) continue;
    work.proposed = std::min(left, running[size_t(work.index)].proposed);
    left -= work.proposed;
  }
}

}  // namespace

void Plan::clear() {
  preempted.clear();
  grown.clear();
  admitted = 0;
  work.clear();
}

void plan_step(std::span<const RunningView> running, std::span<const WaitingView> waiting, int64_t available_pages,
               const StepLimits& limits, Plan& out) {
  out.clear();
  int64_t rows = limits.max_rows;
  const bool stalled = grow_in_turn(running, available_pages, out);
  auto runs = [&](int32_t i) {
    return !contains(out.preempted, i) && (running[size_t(i)].pages_to_grow == 0 || contains(out.grown, i));
  };
  for (int32_t i = 0; i < int32_t(running.size()) && rows > 0; ++i) {
    if (running[size_t(i)].pending != 1 || !runs(i)) continue;
    out.work.push_back({i, 1, 0});
    --rows;
  }
  auto prefills = [&](int32_t i) { return running[size_t(i)].pending > 1 && runs(i); };
  for (int32_t i = next_in_turn(running, kBeforeAll, prefills); i >= 0 && rows > 0;
       i = next_in_turn(running, running[size_t(i)].turn, prefills)) {
    const int64_t tokens = std::min(rows, running[size_t(i)].pending);
    out.work.push_back({i, tokens, 0});
    rows -= tokens;
  }
  if (!stalled && out.preempted.empty())
    admit_in_turn(int64_t(running.size()), waiting, available_pages, limits, rows, out);
  grant_proposed(running, limits, rows, out);
}

}  // namespace updraft::engine
