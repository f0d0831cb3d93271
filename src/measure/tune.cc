#include "measure/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

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
  bool decodes;      // measured by decoding; else by a prompt
  bool counts_rows;  // of the prompt
  std::vector<int64_t> values;
  std::function<int64_t(const Tuning&)> get;
  std::function<void(Tuning&, int64_t)> set;
};

std::vector<Knob> knobs(int threads) {
  std::vector<int64_t> counts;
  for (int n : thread_counts(threads)) counts.push_back(n == threads ? 0 : n);  // 0: all
  return {{"decode_threads", true, false, counts, [](const Tuning& t) { return int64_t(t.decode_threads); },
           [](Tuning& t, int64_t v) { t.decode_threads = int(v); }},
          {"prefill_threads", false, false, counts, [](const Tuning& t) { return int64_t(t.prefill_threads); },
           [](Tuning& t, int64_t v) { t.prefill_threads = int(v); }},
          {"chunk_rows",
           false,
           true,
           {256, 128, 64},
           [](const Tuning& t) { return t.chunk_rows; },
           [](Tuning& t, int64_t v) { t.chunk_rows = v; }},
          {"group_panels",
           false,
           false,
           {8, 4, 2},
           [](const Tuning& t) { return int64_t(t.group_panels); },
           [](Tuning& t, int64_t v) { t.group_panels = int(v); }},
          {"step_rows",
           false,
           true,
           {512, 256, 128},
           [](const Tuning& t) { return t.step_rows; },
           [](Tuning& t, int64_t v) { t.step_rows = v; }}};
}

// Parts of the time: trials may take the first, confirming what they took the second, a measurement about the third.
constexpr double kTrialShare = 0.65, kConfirmShare = 0.95, kEachShare = 1.0 / 150;
constexpr int kConfirmRounds = 9, kLeastRounds = 5;

class ModelWork : public TunedWork {
 public:
  ModelWork(session::Session& loaded, const TuneOptions& options, const std::atomic<bool>& cancelled)
      : machine_(loaded.engine().machine()),
        depth_(options.depth),
        rig_(loaded, 1, std::max(options.prompt_tokens, options.depth + 64), 1, cancelled) {
    rig_.fill(1, options.depth);
  }

  double decode_s(const Tuning& tuning, int64_t steps, int64_t rows) override {
    return timed(tuning, [&] {
      for (int64_t i = 0; i < steps; ++i) rig_.step(1, depth_, rows, rows);
    });
  }
  double prefill_s(const Tuning& tuning, int64_t tokens) override {
    return timed(tuning, [&] { rig_.prefill(1, tokens, tuning.step_rows); });
  }

 private:
  double timed(const Tuning& tuning, const auto& work) {
    machine_.tune(tuning);
    const Clock::time_point start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  compute::Machine& machine_;
  const int64_t depth_;
  Rig rig_;
};

class Tuner {
 public:
  Tuner(TunedWork& work, int threads, const TuneOptions& options, const ProgressCallback& progress,
        const std::atomic<bool>& cancelled)
      : work_(work), threads_(threads), options_(options), progress_(progress), cancelled_(cancelled) {}

  TuneResult run() {
    fit_the_time();
    const std::vector<Knob> all = knobs(threads_);
    report_.total = int64_t(all.size()) + 3;
    for (const Knob& knob : all) {
      show();
      if (knob.decodes || prompt_tokens_ > 0) try_values(knob);
    }
    const Tuning decode{.decode_threads = best_.decode_threads};
    Tuning prefill = std::exchange(best_, {});
    prefill.decode_threads = 0;
    show();
    const double prefill_gain = confirmed_gain("prefill", false, prefill);
    if (prefill_gain > 1) best_ = prefill;
    show();
    const double decode_gain = confirmed_gain("decode", true, decode);
    if (decode_gain > 1) best_.decode_threads = decode.decode_threads;
    show();
    measure_rows();
    return {best_,
            {{"decode_gain", decode_gain},
             {"prefill_gain", prefill_gain},
             {"prompt_tokens", prompt_tokens_},
             {"complete", complete_},
             {"trials", trials_},
             {"confirmations", confirmations_}}};
  }

 private:
  // Whether so large a part of the time is over.
  bool over(double share) const { return cancelled_ || spent_s_ > share * options_.seconds; }
  void show() {
    if (progress_) progress_(report_);
    ++report_.done;
  }

  double seconds(bool decodes, const Tuning& tuning) {
    const double s = decodes ? work_.decode_s(tuning, decode_steps_, 1) : work_.prefill_s(tuning, prompt_tokens_);
    spent_s_ += s;
    return s;
  }

  // As many tokens as the time allows. Where it does not allow a prompt that says something, none is measured.
  void fit_the_time() {
    const double each = options_.seconds * kEachShare;
    const double step = std::min(seconds(true, best_), seconds(true, best_));
    decode_steps_ = std::clamp<int64_t>(int64_t(std::min(each, 0.25) / step), 1, 64);
    complete_ = false;
    if (over(kTrialShare) || options_.prompt_tokens < kShortestTunedPrompt) return;
    double prompt = work_.prefill_s(best_, kShortestTunedPrompt);
    spent_s_ += prompt;
    if (prompt > each) return;
    complete_ = true;
    for (prompt_tokens_ = kShortestTunedPrompt; 2 * prompt_tokens_ <= options_.prompt_tokens && 2 * prompt <= each;
         prompt *= 2)
      prompt_tokens_ *= 2;
  }

  // Time with b over time with a, in rounds in which each runs once, in changing order, while there is time.
  std::vector<double> ratios(bool decodes, const Tuning& a, const Tuning& b, int rounds, double share) {
    std::vector<double> all;
    for (int i = 0; i < rounds && !over(share); ++i) {
      const bool first = i % 2 == 0;
      const double one = seconds(decodes, first ? a : b), other = seconds(decodes, first ? b : a);
      all.push_back(first ? other / one : one / other);
    }
    return all;
  }

  // Also two numbers of rows that are both more than the prompt has.
  bool same(const Knob& knob, int64_t a, int64_t b) const {
    return a == b || (knob.counts_rows && std::min(a, b) >= prompt_tokens_);
  }

  void try_values(const Knob& knob) {
    for (int64_t value : knob.values) {
      if (same(knob, knob.get(best_), value)) continue;
      Tuning candidate = best_;
      knob.set(candidate, value);
      const std::vector<double> times = ratios(knob.decodes, best_, candidate, options_.rounds, kTrialShare);
      if (int(times.size()) < options_.rounds) {
        complete_ = false;
        return;
      }
      const double times_best = summarize(times).median;
      const bool taken = times_best < 1 - options_.clearly;
      trials_.push_back({{"setting", knob.name}, {"value", value}, {"times_best", times_best}, {"taken", taken}});
      if (taken) best_ = candidate;
    }
  }

  // A trial that was won by chance, or while another program ran, must not slow down every later run. What `part` gains
  // where most rounds beside the defaults find it faster; else 1.
  double confirmed_gain(const char* name, bool decodes, const Tuning& part) {
    if (part == Tuning{}) return 1;
    std::vector<double> gains = ratios(decodes, part, {}, kConfirmRounds, kConfirmShare);
    if (int(gains.size()) < kLeastRounds) {
      complete_ = false;
      return 1;
    }
    std::sort(gains.begin(), gains.end());
    // Where nothing is gained, one of nine rounds at most, or none of fewer, is below 1 with a probability of 3 % or
    // less.
    const double low = gains[gains.size() == kConfirmRounds ? 1 : 0], gain = summarize(gains).median;
    const bool kept = low > 1 && gain > 1 + options_.clearly / 2;
    confirmations_.push_back(
        {{"settings", name}, {"gain", gain}, {"low", low}, {"rounds", gains.size()}, {"kept", kept}});
    return kept ? gain : 1;
  }

  // What rows beside the first cost a step: a line through the steps of 2 and of 8 rows.
  void measure_rows() {
    std::vector<double> two, eight;
    const auto timed = [&](int64_t rows) {
      const double s = work_.decode_s(best_, decode_steps_, rows);
      spent_s_ += s;
      return s;
    };
    for (int i = 0; i < options_.rounds; ++i) {
      if (over(1)) return void(complete_ = false);
      const double one = timed(1);
      two.push_back(timed(2) / one);
      eight.push_back(timed(8) / one);
    }
    const double at_two = summarize(two).median, at_eight = summarize(eight).median;
    best_.row_cost = std::clamp((at_eight - at_two) / 6, 0.002, 1.0);
    best_.step_cost = std::clamp(at_two - 1 - best_.row_cost, 0.0, 1.0);
  }

  TunedWork& work_;
  const int threads_;
  const TuneOptions options_;
  const ProgressCallback& progress_;
  const std::atomic<bool>& cancelled_;
  double spent_s_ = 0;
  int64_t prompt_tokens_ = 0, decode_steps_ = 1;
  Progress report_{"tuning", 0, 0, "settings"};
  Tuning best_;
  ordered_json trials_ = ordered_json::array(), confirmations_ = ordered_json::array();
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

TuneResult tune(TunedWork& work, int threads, const TuneOptions& options, const ProgressCallback& progress,
                const std::atomic<bool>& cancelled) {
  return Tuner(work, threads, options, progress, cancelled).run();
}

TuneResult tune(session::Session& loaded, const TuneOptions& options, const ProgressCallback& progress,
                const std::atomic<bool>& cancelled) {
  compute::Machine& machine = loaded.engine().machine();
  TuneResult result{{}, {{"complete", false}}};
  try {
    ModelWork work(loaded, options, cancelled);
    result = tune(work, machine.info().threads, options, progress, cancelled);
  } catch (const Cancelled&) {
    result = {{}, {{"complete", false}}};
  }
  machine.tune(result.best);
  return result;
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
