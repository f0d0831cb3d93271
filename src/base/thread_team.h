// ThreadTeam: a fixed set of threads that run one function together, phase after phase. The caller is member 0.
// run() and share() return when every member that took part has finished (one barrier); members wait by spinning
// briefly, then on a futex, so an idle team costs no CPU time. Every member sets rounding to nearest and denormals kept
// while it runs a function and restores the caller's floating-point state afterwards. It never allocates after
// construction and run() never throws: a function given to it must not throw.
#pragma once

#include <cstdint>
#include <memory>

#include "base/function_ref.h"

namespace updraft {

class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);  // >= 1; starts threads - 1 threads
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const;  // an upper bound of every member number

  // From now on only members [0, members) take part; the others sleep until they are wanted again. Of the thread that
  // calls run(), between two calls. 1 <= members <= size().
  void limit(int members);
  int active() const;  // as limited; size() at first

  // Calls body(member) on every active member. One caller at a time.
  void run(FunctionRef<void(int member)> body);

  // The same for bodies that take pieces of common work, first come, first served, until none is left: a member that
  // has not come by the time the caller has finished is not waited for. Its processor may be busy with another program,
  // for several milliseconds where the work takes microseconds.
  void share(FunctionRef<void(int member)> body);

  // Splits [0, items) in chunks of `grain` taken first come, first served; body(begin, end, member).
  // Which member runs which chunk is not defined: never let a result depend on it.
  void parallel_for(int64_t items, int64_t grain, FunctionRef<void(int64_t begin, int64_t end, int member)> body);

  struct Impl;  // for the .cc alone

 private:
  std::unique_ptr<Impl> impl_;
};

// Processors this process may use: the affinity mask, cut by the cgroup's CPU quota (rounded up). At least 1.
int available_processors();

}  // namespace updraft
