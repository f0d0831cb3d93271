#include "measure/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "measure/rig.h"
#include "measure/statistics.h"

namespace updraft::measure {
namespace {

using compute::Tuning;
using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

// All, three quarters, half of the threads, and one.
std::vector<int> thread_counts(int threads) {
  std::vector<int> counts;
  for (int n : {threads, threads * 3 / 4, threads / 2, 1})
    if (n >= 1 && std::find(counts.begin(), counts.end(), n) == counts.end()) counts.push_back(n);
  return counts;
}

// One setting and the values that are tried for it.
struct Knob {
  const char* name;
  bool decodes;  // measured by decoding; else by a prompt
  std::vector<int64_t> values;
  std::function<int64_t(const Tuning&)> get;
  std::function<void(Tuning&, int64_t)> set;
};

std::vector<Knob> knobs(int threads) {
  std::vector<int64_t> counts;
  for (int n : thread_counts(threads)) counts.push_back(n == threads ? 0 : n);  // 0: all
  return {{"decode_threads", true, counts, [](const Tuning& t) { return int64_t(t.decode_threads); },
           [](Tuning& t, int64_t v) { t.decode_threads = int(v); }},
          {"prefill_threads", false, counts, [](const Tuning& t) { return int64_t(t.prefill_threads); },
           [](Tuning& t, int64_t v) { t.prefill_threads = int(v); }},
          {"chunk_rows",
           false,
           {256, 128, 64},
           [](const Tuning& t) { return t.chunk_rows; },
           [](Tuning& t, int64_t v) { t.chunk_rows = v; }},
          {"group_panels",
           false,
           {8, 4, 2},
           [](const Tuning& t) { return int64_t(t.group_panels); },
           [](Tuning& t, int64_t v) { t.group_panels = int(v); }},
          {"step_rows",
           false,
           {512, 256, 128},
           [](const Tuning& t) { return t.step_rows; },
           [](Tuning& t, int64_t v) { t.step_rows = v; }}};
}

class Tuner {
 public:
  Tuner(session::Session& loaded, const TuneOptions& options, const ProgressCallback& progress,
        const std::atomic<bool>& cancelled)
      : machine_(loaded.engine().machine()),
        options_(options),
        progress_(progress),
        cancelled_(cancelled),
        prompt_tokens_(options.prompt_tokens),
        rig_(loaded, 1, std::max(options.prompt_tokens, options.depth + 64), 1, cancelled) {
    rig_.fill(1, options.depth);
  }

  TuneResult run() {
    begin_ = Clock::now();
    fit_the_time();
    const std::vector<Knob> all = knobs(machine_.info().threads);
    report_.total = int64_t(all.size()) + 2;
    for (const Knob& knob : all) {
      show();
      try_values(knob);
    }
    show();
    measure_rows();
    show();
    const double decode_gain = ratio(true, {}, best_), prefill_gain = ratio(false, {}, best_);
    machine_.tune(best_);
    return {best_,
            {{"decode_gain", 1 / decode_gain},
             {"prefill_gain", 1 / prefill_gain},
             {"prompt_tokens", prompt_tokens_},
             {"complete", complete_},
             {"trials", trials_}}};
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  bool stop() const { return cancelled_ || elapsed() > options_.seconds; }
  void show() {
    if (progress_) progress_(report_);
    ++report_.done;
  }

  double seconds(bool decodes, const Tuning& tuning) {
    machine_.tune(tuning);
    const Clock::time_point start = Clock::now();
    if (decodes)
      for (int64_t i = 0; i < decode_steps_; ++i) rig_.step(1, options_.depth + i, 1, 1);
    else
      rig_.prefill(1, prompt_tokens_, tuning.step_rows);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  // Fewer tokens where the model is slow: about thirty measurements of each kind have to fit.
  void fit_the_time() {
    const double each = options_.seconds / 90;
    decode_steps_ = 1;
    const double step = std::min(seconds(true, best_), seconds(true, best_));
    decode_steps_ = std::clamp<int64_t>(int64_t(std::min(each, 0.25) / step), 1, 64);
    for (double time = seconds(false, best_); time > each && prompt_tokens_ > 32; time /= 2) prompt_tokens_ /= 2;
  }

  // Time with b over time with a: the median over rounds in which each ran once, in changing order.
  double ratio(bool decodes, const Tuning& a, const Tuning& b) {
    if (a == b) return 1;
    std::vector<double> ratios;
    for (int i = 0; i < options_.rounds; ++i) {
      const bool first = i % 2 == 0;
      const double one = seconds(decodes, first ? a : b), other = seconds(decodes, first ? b : a);
      ratios.push_back(first ? other / one : one / other);
    }
    return summarize(ratios).median;
  }

  void try_values(const Knob& knob) {
    for (int64_t value : knob.values) {
      if (knob.get(best_) == value) continue;
      if (stop()) {
        complete_ = false;
        return;
      }
      Tuning candidate = best_;
      knob.set(candidate, value);
      const double times_best = ratio(knob.decodes, best_, candidate);
      const bool taken = times_best < 1 - options_.clearly;
      trials_.push_back({{"setting", knob.name}, {"value", value}, {"times_best", times_best}, {"taken", taken}});
      if (taken) best_ = candidate;
    }
  }

  // What rows beside the first cost a step: a line through the steps of 2 and of 8 rows.
  void measure_rows() {
    if (stop()) return void(complete_ = false);
    machine_.tune(best_);
    std::vector<double> two, eight;
    const auto timed = [&](int64_t rows) {
      const Clock::time_point start = Clock::now();
      for (int64_t i = 0; i < decode_steps_; ++i) rig_.step(1, options_.depth, rows, rows);
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    for (int i = 0; i < options_.rounds; ++i) {
      const double one = timed(1);
      two.push_back(timed(2) / one);
      eight.push_back(timed(8) / one);
    }
    const double at_two = summarize(two).median, at_eight = summarize(eight).median;
    best_.row_cost = std::clamp((at_eight - at_two) / 6, 0.002, 1.0);
    best_.step_cost = std::clamp(at_two - 1 - best_.row_cost, 0.0, 1.0);
  }

  compute::Machine& machine_;
  const TuneOptions options_;
  const ProgressCallback& progress_;
  const std::atomic<bool>& cancelled_;
  int64_t prompt_tokens_, decode_steps_ = 1;
  Rig rig_;
  Clock::time_point begin_;
  Progress report_{"tuning", 0, 0, "settings"};
  Tuning best_;
  ordered_json trials_ = ordered_json::array();
  bool complete_ = true;
};

}  // namespace

void prepare(const TuneOptions& options, session::LoadOptions& load) {
  load.kv_tokens = std::max(options.prompt_tokens, options.depth + 64) + 256;
  load.max_sequences = 16;  // room for the logits of as many rows
  load.max_rows = compute::Tuning{}.step_rows;
  load.prefix_reuse = load.speculate = false;
  load.tuning_folder.clear();
}

TuneResult tune(session::Session& loaded, const TuneOptions& options, const ProgressCallback& progress,
                const std::atomic<bool>& cancelled) {
  try {
    return Tuner(loaded, options, progress, cancelled).run();
  } catch (const Cancelled&) {
    loaded.engine().machine().tune({});
    return {{}, {{"complete", false}}};
  }
}

std::vector<compute::Tuning> search_space(int threads) {
  std::vector<compute::Tuning> all;
  for (int decode : thread_counts(threads))
    for (int prefill : thread_counts(threads))
      for (int64_t chunk_rows : {256, 128, 64})
        for (int group_panels : {8, 4, 2})
          for (int64_t step_rows : {512, 256, 128})
            all.push_back({decode, prefill, chunk_rows, group_panels, step_rows});
  return all;
}

}  // namespace updraft::measure
