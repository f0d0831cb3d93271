#include "measure/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "base/error.h"
#include "compute/sampling.h"
#include "measure/bench_protocol.h"
#include "measure/local_target.h"
#include "measure/statistics.h"
#include "model/rope.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// Sequences laid out by hand: sequence s owns the pages [s * pages_each, (s + 1) * pages_each).
class Rig {
 public:
  Rig(session::Session& loaded, int64_t sequences, int64_t context, uint64_t seed)
      : engine_(loaded.engine()),
        decoder_(engine_.decoder()),
        workspace_(engine_.workspace()),
        page_tokens_(engine_.machine().info().page_tokens),
        pages_each_((context + page_tokens_ - 1) / page_tokens_),
        vocabulary_(loaded.checkpoint().config().vocabulary_size),
        seed_(seed) {
    if (pages_each_ * sequences > workspace_.kv->pages)
      fail("this sweep needs {} KV tokens and the cache holds {}: lower --depth or --batch, or raise --kv-tokens",
           pages_each_ * page_tokens_ * sequences, workspace_.kv->pages * page_tokens_);
    ropes_.tables = {model::make_rope_table(loaded.checkpoint().config(), context, context)};
  }

  void fill(int64_t sequences, int64_t depth) {
    std::vector<int32_t> pages(size_t((depth + page_tokens_ - 1) / page_tokens_ * sequences));
    const int64_t used = (depth + page_tokens_ - 1) / page_tokens_;
    for (int64_t s = 0; s < sequences; ++s)
      std::iota(pages.begin() + s * used, pages.begin() + (s + 1) * used, int32_t(s * pages_each_));
    workspace_.kv->fill_pages(pages, seed_);
  }

  // Rows [position, position + count) of each sequence in one step; logits of the last `chosen` rows of each.
  void step(int64_t sequences, int64_t position, int64_t count, int64_t chosen) {
    in_.clear();
    for (int64_t s = 0; s < sequences; ++s) {
      in_.sequence.push_back(
          {int32_t(s * count), int32_t(count), int32_t(in_.page_tables.size()), int32_t(pages_each_)});
      for (int64_t page = 0; page < pages_each_; ++page) in_.page_tables.push_back(int32_t(s * pages_each_ + page));
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = position + i;
        in_.ids.push_back(int32_t(compute::uniform(seed_ + uint64_t(s), uint64_t(at)) * vocabulary_));
        in_.positions.push_back(int32_t(at));
        in_.sequences.push_back(int32_t(s));
        in_.rope_tables.push_back(0);
      }
      for (int64_t i = count - chosen; i < count; ++i) in_.output_rows.push_back(int32_t(s * count + i));
    }
    compute::SampleRules greedy;
    greedy.top_logprobs = -1;
    in_.rules.assign(in_.output_rows.size(), greedy);
    compute::Machine& machine = engine_.machine();
    machine.run({in_.rows(), int64_t(in_.output_rows.size())}, [&] {
      decoder_.forward(machine, in_, ropes_, workspace_);
      if (chosen > 0) machine.sample(in_, workspace_.logits, samples_);
    });
    const compute::StepStatus status = machine.finish();
    if (!status.ok) fail("{}", status.error);
  }

  int64_t max_rows() const { return engine_.options().max_rows; }

 private:
  engine::Engine& engine_;
  const model::Decoder& decoder_;
  model::Workspace& workspace_;
  const int64_t page_tokens_, pages_each_;
  const int vocabulary_;
  const uint64_t seed_;
  compute::RopeTables ropes_;
  compute::StepInputs in_;
  compute::Samples samples_;
};

void prefill(Rig& rig, int64_t sequences, int64_t tokens) {
  const int64_t chunk = std::max<int64_t>(1, rig.max_rows() / sequences);
  for (int64_t at = 0; at < tokens; at += chunk) {
    const int64_t count = std::min(chunk, tokens - at);
    rig.step(sequences, at, count, at + count == tokens ? 1 : 0);
  }
}

double timed(const auto& work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

ordered_json prefill_point(session::Session& loaded, const SweepOptions& options, int64_t tokens) {
  Rig rig(loaded, 1, tokens, options.seed);
  std::vector<double> samples, rates;
  for (int i = 0; i <= options.samples; ++i) {
    const double seconds = timed([&] { prefill(rig, 1, tokens); });
    if (i > 0) samples.push_back(seconds), rates.push_back(double(tokens) / seconds);
  }
  return {{"kind", "prefill"},
          {"prompt_tokens", tokens},
          {"prefill_tokens_per_second", summary_json(rates)},
          {"samples_s", samples}};
}

ordered_json decode_point(session::Session& loaded, const SweepOptions& options, int64_t depth, int64_t batch,
                          double read_bandwidth) {
  // Every sample decodes the same positions, so that all of them read the same bytes.
  Rig rig(loaded, batch, depth + options.decode_tokens, options.seed);
  if (depth > 0) {
    if (options.synthetic_fill)
      rig.fill(batch, depth);
    else
      prefill(rig, batch, depth);
  }
  std::vector<double> steps, rates;
  for (int i = 0; i <= options.samples; ++i) {
    const double seconds = timed([&] {
      for (int64_t token = 0; token < options.decode_tokens; ++token) rig.step(batch, depth + token, 1, 1);
    });
    if (i == 0) continue;
    steps.push_back(seconds / double(options.decode_tokens));
    rates.push_back(double(batch) / steps.back());
  }
  const double bytes = bytes_per_step(loaded, double(depth) + double(options.decode_tokens) / 2, batch);
  const bool comparable = read_bandwidth > 0 && !cache_resident(loaded);
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
          {"samples_s", steps}};
}

// Samples of every number of rows in turn, so that a change of the machine's speed meets them all alike.
void rows_points(session::Session& loaded, const SweepOptions& options, int64_t depth, ordered_json& points) {
  std::vector<int64_t> rows = options.rows;
  rows.insert(rows.begin(), 1);
  Rig rig(loaded, 1, depth + *std::max_element(rows.begin(), rows.end()), options.seed);
  if (depth > 0) {
    if (options.synthetic_fill)
      rig.fill(1, depth);
    else
      prefill(rig, 1, depth);
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
  for (size_t r = 1; r < rows.size(); ++r)
    points.push_back({{"kind", "rows"},
                      {"depth", depth},
                      {"rows", rows[r]},
                      {"step_s", summary_json(steps[r])},
                      {"times_one_row", summarize(ratios[r]).median},
                      {"samples_s", steps[r]}});
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
    measure();
    ++report.done;
  };
  for (int64_t prompt : options.prompts) add([&] { points.push_back(prefill_point(loaded, options, prompt)); });
  for (int64_t depth : options.depths)
    for (int64_t batch : options.batches)
      add([&] { points.push_back(decode_point(loaded, options, depth, batch, read_bandwidth)); });
  for (int64_t depth : options.depths)
    if (!options.rows.empty()) add([&] { rows_points(loaded, options, depth, points); });
  return points;
}

}  // namespace updraft::measure
