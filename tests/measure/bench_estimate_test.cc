// The estimate that bench begins with: each part of the work counts, and more work never takes less time.
#include "measure/bench_estimate.h"

#include <gtest/gtest.h>

namespace updraft::measure {
namespace {

compute::ReadBandwidth look() {
  compute::ReadBandwidth look;
  look.bytes_per_second = 10e9;
  look.passes = 21;
  return look;
}

session::MemoryPlan plan() {
  session::MemoryPlan plan;
  plan.streamed_bytes = 1'000'000'000;
  plan.weights_bytes = 2'000'000'000;
  plan.kv_bytes_per_token = 100'000;
  return plan;
}

double estimate(const BenchWork& work) { return estimate_seconds(work, plan(), look()); }

BenchWork loading_only() {
  BenchWork work;
  work.probes = false;
  return work;
}

TEST(BenchEstimate, AddsUpWhatIsAskedFor) {
  const double load = estimate(loading_only()), step = 1.3 * 0.1;
  EXPECT_DOUBLE_EQ(load, 2);
  BenchWork decode = loading_only();
  decode.sweep.batches = {1};
  EXPECT_NEAR(estimate(decode) - load, 6 * 32 * step, 1e-9);
  BenchWork deep = decode;
  deep.sweep.depths = {10'000};  // as many bytes again
  EXPECT_NEAR(estimate(deep) - load, 6 * 32 * step * 2, 1e-9);
  BenchWork computed = deep;
  computed.sweep.synthetic_fill = false;
  EXPECT_NEAR(estimate(computed) - estimate(deep), 10'000 / 8 * step, 1e-9);
  BenchWork rows = loading_only();
  rows.sweep.rows = {2, 4};
  EXPECT_NEAR(estimate(rows) - load, 3 * 6 * 32 * step, 1e-9);
  BenchWork prompts = loading_only();
  prompts.sweep.prompts = {256};
  EXPECT_NEAR(estimate(prompts) - load, 6 * 32 * step, 1e-9);
}

TEST(BenchEstimate, TasksTakeTheirRunsAndTokens) {
  BenchWork work = loading_only();
  const double load = estimate(work);
  work.tasks = 5;
  const double tasks = estimate(work) - load;
  EXPECT_GT(tasks, 5 * 7 * 120 * 0.13);
  EXPECT_LT(tasks, 2 * 5 * 7 * 120 * 0.13);
  BenchWork more = work;
  more.protocol.timed_runs = 12;
  EXPECT_NEAR(estimate(more) - load, 2 * tasks, 1e-9);
  more = work;
  more.protocol.speculate = true;
  EXPECT_NEAR(estimate(more) - load, 2 * tasks, 1e-9);
  more = work;
  more.probes = true;  // at least twice 21 passes over 4 GiB
  EXPECT_GT(estimate(more) - estimate(work), 2 * 21 * 0.4);
}

}  // namespace
}  // namespace updraft::measure
