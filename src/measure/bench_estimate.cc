#include "measure/bench_estimate.h"

#include <algorithm>

namespace updraft::measure {
namespace {

constexpr double kOverhead = 1.3;             // of a step beside reading its bytes: 70 to 93 % of the bandwidth
constexpr double kPromptTokensPerStep = 8;    // tokens of a prompt in the time of a step of one row
constexpr double kTaskPromptTokens = 50;      // the article's tasks through a chat template: 20 to 150
constexpr double kLoadBytesPerSecond = 1e9;   // into fresh memory: page faults bound it
constexpr double kTouchBytesPerSecond = 2e9;  // of the probe's memory, twice
constexpr double kPeaksSeconds = 1.5;

}  // namespace

double estimate_seconds(const BenchWork& work, const session::MemoryPlan& plan, const compute::ReadBandwidth& look) {
  const auto step = [&](int64_t depth, int64_t sequences) {
    const int64_t bytes = plan.streamed_bytes + plan.kv_bytes_per_token * depth * sequences;
    return kOverhead * double(bytes) / look.bytes_per_second;
  };
  const auto prompt = [&](double tokens) { return std::max(1.0, tokens / kPromptTokensPerStep) * step(0, 0); };
  const Protocol& p = work.protocol;
  const SweepOptions& sweep = work.sweep;
  const double samples = sweep.samples + 1, tokens = double(sweep.decode_tokens);

  const double run = prompt(kTaskPromptTokens) + double(p.max_new_tokens) * step(256, 1);
  double seconds = work.tasks * (p.warmup_runs + p.timed_runs) * run * (p.speculate ? 2 : 1);
  for (const int64_t length : sweep.prompts) seconds += samples * prompt(double(length));
  const auto fill = [&](int64_t depth, int64_t sequences) {
    return sweep.synthetic_fill || depth == 0 ? 0 : prompt(double(depth * sequences));
  };
  for (const int64_t depth : sweep.depths) {
    for (const int64_t batch : sweep.batches) seconds += fill(depth, batch) + samples * tokens * step(depth, batch);
    if (sweep.rows.empty()) continue;
    seconds += fill(depth, 1) + samples * tokens * double(sweep.rows.size() + 1) * step(depth, 1);
  }
  seconds += double(plan.weights_bytes) / kLoadBytesPerSecond;
  if (!work.probes) return seconds;
  const double probed = double(compute::read_probe_bytes());
  return seconds + kPeaksSeconds +
         2 * (look.passes * probed / look.bytes_per_second + 2 * probed / kTouchBytesPerSecond);
}

}  // namespace updraft::measure
