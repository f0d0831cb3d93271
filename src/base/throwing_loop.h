// A ThreadTeam's parallel_for for bodies that may throw: the first exception ends the loop, pieces that have not begun
// are left out, and the caller gets it. The caller works too, as member 0: a body that asks there whether to go on
// stops long work within a piece or two.
#pragma once

#include <atomic>
#include <exception>

#include "base/thread_team.h"

namespace updraft {

inline void throwing_parallel_for(ThreadTeam& team, int64_t items, int64_t grain,
                                  FunctionRef<void(int64_t begin, int64_t end, int member)> body) {
  std::atomic<bool> failed = false;
  std::exception_ptr failure;
  team.parallel_for(items, grain, [&](int64_t begin, int64_t end, int member) {
    if (failed.load()) return;
    try {
      body(begin, end, member);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace updraft
