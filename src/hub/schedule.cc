#include "hub/schedule.h"

#include <algorithm>

namespace updraft::hub {
namespace {

// The first source that may give this file now, or -1; `hopeless` when none ever will. `wake`: when one cools down.
int choose(const Job& job, const SourcePool& pool, bool whole, Clock::time_point& wake, bool& hopeless) {
  hopeless = true;
  const Clock::time_point now = Clock::now();
  const bool single = job.part->pieces() == 1 && job.part->done(0) == 0;
  const bool bound = job.only_source >= 0 && !pool.dropped(job.only_source) && !job.banned.contains(job.only_source);
  for (int i = 0; i < pool.size(); ++i) {
    if (pool.dropped(i) || job.banned.contains(i) || !pool.offers_file(i, job.path())) continue;
    if (bound && job.only_source != i) continue;
    if (!pool.ranges(i) && !whole && !single) continue;
    hopeless = false;
    if (pool.ready_at(i) <= now) return i;
    wake = std::min(wake, pool.ready_at(i));
  }
  return -1;
}

std::optional<Work> pick_for(Job& job, SourcePool& pool, const TransferPlan& plan, Clock::time_point& wake) {
  if ((job.whole || job.start_over) && job.in_flight > 0) return std::nullopt;
  if (job.start_over) job.restart();
  int piece = job.free_piece();
  if (piece < 0) return std::nullopt;
  const int64_t there = job.part->done();
  bool hopeless = false;
  int source = choose(job, pool, job.whole, wake, hopeless);
  if (source < 0 && hopeless && !job.whole) {  // perhaps one that knows no ranges
    source = choose(job, pool, true, wake, hopeless);
    if (source >= 0 && job.in_flight > 0) return std::nullopt;
    if (source >= 0) {
      job.whole = true;
      job.restart();
      piece = 0;
    }
  }
  if (source < 0) {
    if (hopeless && job.in_flight == 0) job.error = pool.summary(job.path(), job.errors);
    return std::nullopt;
  }
  const SourceKind listed = plan.sources[plan.primary].kind;
  const bool of_listing = size_t(source) == plan.primary ||
                          (pool.source(source).kind == SourceKind::kHuggingFace && listed == SourceKind::kHuggingFace);
  ++job.in_flight;
  if (!of_listing && !pool.offers(source)) return Work{&job, source, 0, false, true, 0};
  if (job.whole && job.part->done() > 0) job.restart();  // never splice
  job.taken[size_t(piece)] = true;
  return Work{&job, source, piece, job.whole, false, job.whole ? there : 0};
}

}  // namespace

std::optional<Work> pick_work(const std::vector<Job*>& jobs, SourcePool& pool, const TransferPlan& plan,
                              Clock::time_point& wake) {
  for (Job* job : jobs)
    if (!job->closed && !job->held && !job->error)
      if (auto work = pick_for(*job, pool, plan, wake)) return work;
  return std::nullopt;
}

}  // namespace updraft::hub
