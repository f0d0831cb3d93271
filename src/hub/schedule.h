// Schedule: what a connection does next: the first free piece of the first file, from the first source that may give it
// now. Pure decisions over the state of a run; Transfer calls them under its lock.
#pragma once

#include <optional>
#include <vector>

#include "hub/job.h"

namespace updraft::hub {

struct Work {
  Job* job = nullptr;
  int source = 0;
  int piece = 0;  // the first one when `whole`
  bool whole = false, ask_listing = false;
  int64_t given_up = 0;  // bytes that were there and cannot be joined with what a source without ranges sends
};

// Takes the work: marks the piece and counts the worker in. Empty when there is nothing to do now; `wake` is then moved
// to the time when a source has cooled down. A job that no source can give gets its error.
std::optional<Work> pick_work(const std::vector<Job*>&, SourcePool&, const TransferPlan&, Clock::time_point& wake);

}  // namespace updraft::hub
