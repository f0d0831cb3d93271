#include "measure/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "measure/bench_protocol.h"
#include "measure/local_target.h"
#include "measure/rig.h"
#include "measure/statistics.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double timed(const auto& work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

ordered_json prefill_point(session::Session& loaded, const SweepOptions& options, int64_t tokens,
                           const std::atomic<bool>& cancelled) {
  Rig rig(loaded, 1, tokens, options.seed, cancelled);
  std::vector<double> samples, rates;
  for (int i = 0; i <= options.samples; ++i) {
    const double seconds = timed([&] { rig.prefill(1, tokens, rig.max_rows()); });
    if (i > 0) samples.push_back(seconds), rates.push_back(double(tokens) / seconds);
  }
  return {{"kind", "prefill"},
          {"prompt_tokens", tokens},
          {"prefill_tokens_per_second", summary_json(rates)},
          {"samples_s", samples}};
}

ordered_json decode_point(session::Session& loaded, const SweepOptions& options, int64_t depth, int64_t batch,
                          double read_bandwidth, const std::atomic<bool>& cancelled) {
  // Every sample decodes the same positions, so that all of them read the same bytes.
  Rig rig(loaded, batch, depth + options.decode_tokens, options.seed, cancelled);
  if (depth > 0) {
    if (options.synthetic_fill)
      rig.fill(batch, depth);
    else
      rig.prefill(batch, depth, rig.max_rows());
  }
  const double bytes = bytes_per_step(loaded, double(depth) + double(options.decode_tokens) / 2, batch);
  const bool comparable = read_bandwidth > 0 && !cache_resident(loaded);
  const std::vector<compute::Weight> weights = loaded.engine().decoder().weights().streamed();
  const auto plain_read = [&] { return comparable ? loaded.engine().machine().read_plainly(weights) : 0; };
  std::vector<double> steps, rates, reads, parts;  // a sample's read: the mean of those before and after it
  double before = 0;
  for (int i = 0; i <= options.samples; ++i) {
    const double seconds = timed([&] {
      for (int64_t token = 0; token < options.decode_tokens; ++token) rig.step(batch, depth + token, 1, 1);
    });
    const double after = plain_read();
    if (i > 0) {
      steps.push_back(seconds / double(options.decode_tokens));
      rates.push_back(double(batch) / steps.back());
      if (before > 0 && after > 0) {
        reads.push_back((before + after) / 2);
        parts.push_back(bytes / steps.back() / reads.back());
      }
    }
    before = after;
  }
  const auto summary_or_null = [](const std::vector<double>& values) {
    return values.empty() ? ordered_json(nullptr) : summary_json(values);
  };
  const double fraction = comparable ? bytes / summarize(steps).median / read_bandwidth : 0;
  return {{"kind", "decode"},
          {"depth", depth},
          {"batch", batch},
          {"depth_fill", depth == 0               ? "none"
                         : options.synthetic_fill ? "synthetic"
                                                  : "prefill"},
          {"decode_tokens_per_second", summary_json(rates)},
          {"step_s", summary_json(steps)},
          {"bytes_per_step", bytes},
          {"cache_resident", cache_resident(loaded)},
          {"bandwidth_fraction", comparable ? ordered_json(fraction) : ordered_json(nullptr)},
          {"plain_read_bytes_per_second", summary_or_null(reads)},
          {"of_plain_read", summary_or_null(parts)},
          {"samples_s", steps}};
}

// Samples of every number of rows in turn, so that a change of the machine's speed meets them all alike.
void rows_points(session::Session& loaded, const SweepOptions& options, int64_t depth, ordered_json& points,
                 const std::atomic<bool>& cancelled) {
  std::vector<int64_t> rows = {1};  // each number once, one row first
  for (int64_t n : options.rows)
    if (std::find(rows.begin(), rows.end(), n) == rows.end()) rows.push_back(n);
  Rig rig(loaded, 1, depth + *std::max_element(rows.begin(), rows.end()), options.seed, cancelled);
  if (depth > 0) {
    if (options.synthetic_fill)
      rig.fill(1, depth);
    else
      rig.prefill(1, depth, rig.max_rows());
  }
  std::vector<std::vector<double>> steps(rows.size()), ratios(rows.size());
  for (int sample = 0; sample <= options.samples; ++sample)
    for (size_t r = 0; r < rows.size(); ++r) {
      const double seconds = timed([&] {
        for (int64_t i = 0; i < options.decode_tokens; ++i) rig.step(1, depth, rows[r], rows[r]);
      });
      if (sample == 0) continue;
      steps[r].push_back(seconds / double(options.decode_tokens));
      ratios[r].push_back(steps[r].back() / steps[0].back());
    }
  for (int64_t n : options.rows) {
    const auto r = size_t(std::find(rows.begin(), rows.end(), n) - rows.begin());
    points.push_back({{"kind", "rows"},
                      {"depth", depth},
                      {"rows", n},
                      {"step_s", summary_json(steps[r])},
                      {"times_one_row", summarize(ratios[r]).median},
                      {"samples_s", steps[r]}});
  }
}

}  // namespace

int64_t sweep_kv_tokens(const SweepOptions& options) {
  int64_t most = 0;
  for (int64_t prompt : options.prompts) most = std::max(most, prompt + 256);
  constexpr int64_t kPageSlack = 256;  // whole pages for every sequence
  for (int64_t depth : options.depths)
    for (int64_t rows : options.rows) most = std::max(most, depth + rows + kPageSlack);
  for (int64_t depth : options.depths)
    for (int64_t batch : options.batches) most = std::max(most, batch * (depth + options.decode_tokens + kPageSlack));
  return most;
}

ordered_json run_sweep(session::Session& loaded, const SweepOptions& options, double read_bandwidth,
                       const ProgressCallback& progress, const std::atomic<bool>& cancelled) {
  const size_t depths = options.depths.size() * (options.batches.size() + (options.rows.empty() ? 0 : 1));
  Progress report{"sweep", 0, int64_t(options.prompts.size() + depths), "points"};
  ordered_json points = ordered_json::array();
  const auto add = [&](const auto& measure) {
    if (cancelled) return;
    if (progress) progress(report);
    try {
      measure();
    } catch (const Cancelled&) {
      return;
    }
    ++report.done;
  };
  for (int64_t prompt : options.prompts)
    add([&] { points.push_back(prefill_point(loaded, options, prompt, cancelled)); });
  for (int64_t depth : options.depths)
    for (int64_t batch : options.batches)
      add([&] { points.push_back(decode_point(loaded, options, depth, batch, read_bandwidth, cancelled)); });
  for (int64_t depth : options.depths)
    if (!options.rows.empty()) add([&] { rows_points(loaded, options, depth, points, cancelled); });
  return points;
}

}  // namespace updraft::measure
