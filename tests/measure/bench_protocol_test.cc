#include "measure/bench_protocol.h"

#include <gtest/gtest.h>

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

// Answers at once with so many tokens, a tenth of a second apart.
class PretendTarget : public Target {
 public:
  PretendTarget(int64_t prompt_tokens, int tokens) : prompt_tokens_(prompt_tokens), tokens_(tokens) {}
  TaskRun run(const std::string&, const Protocol&) override {
    TaskRun run;
    run.prompt_tokens = prompt_tokens_;
    run.new_tokens = tokens_;
    for (int i = 1; i <= tokens_; ++i) run.token_times_s.push_back(0.1 * i);
    run.latency_s = run.token_times_s.back();
    return run;
  }

 private:
  int64_t prompt_tokens_;
  int tokens_;
};

ordered_json one_task(Target& target, int timed_runs) {
  Protocol protocol;
  protocol.warmup_runs = 0, protocol.timed_runs = timed_runs;
  protocol.tasks = {"code"};
  return run_protocol(target, protocol, {}, [] { return true; });
}

TEST(BenchProtocol, WhatATargetDoesNotCountIsNull) {
  PretendTarget silent(0, 3), counting(20, 3);
  const ordered_json tasks = one_task(silent, 2);
  EXPECT_TRUE(tasks[0]["prompt_tokens"].is_null());
  EXPECT_TRUE(tasks[0]["prefill_tokens_per_second"].is_null());
  EXPECT_TRUE(average_row(tasks)["prefill_tokens_per_second"].is_null());
  const ordered_json counted = one_task(counting, 2);
  EXPECT_EQ(counted[0]["prompt_tokens"], 20);
  EXPECT_DOUBLE_EQ(counted[0]["prefill_tokens_per_second"].get<double>(), 200);
}

TEST(BenchProtocol, RunsOfOneTokenHaveNoGaps) {
  PretendTarget one(20, 1), three(20, 3);
  const ordered_json short_runs = one_task(one, 2), runs = one_task(three, 2);
  for (const char* key : {"p50", "p95", "p99"}) {
    EXPECT_TRUE(short_runs[0]["inter_token_latency_s"][key].is_null()) << key;
    EXPECT_NEAR(runs[0]["inter_token_latency_s"][key].get<double>(), 0.1, 1e-9) << key;
  }
  EXPECT_TRUE(short_runs[0]["decode_tokens_per_second"].is_null());
}

TEST(BenchProtocol, OneRunHasNoInterval) {
  PretendTarget target(20, 3);
  const ordered_json once = one_task(target, 1), twice = one_task(target, 2);
  for (const char* key : {"latency_s", "tokens_per_second_summary", "time_to_first_token_s"}) {
    EXPECT_TRUE(once[0][key]["confidence_95"].is_null()) << key;
    EXPECT_EQ(twice[0][key]["confidence_95"].size(), 2u) << key;
  }
}

}  // namespace
}  // namespace updraft::measure
