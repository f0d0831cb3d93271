// A product on tiles beside the register peak of the same tiles, in turns. The tile unit of a core is one for all its
// hardware threads, and on a shared machine the other one belongs to somebody else: the peak moves by a factor of two
// and more from one second to the next, so that a peak measured minutes apart says nothing about a product.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "compute/cpu/probe_kernels.h"
#include "measure/statistics.h"

namespace updraft {

class TilePeak {
 public:
  using Probe = int64_t (*)(int64_t rounds, int32_t* sink);  // probe_bf16_amx or probe_int8_amx

  // `operations` of one turn of the product, every pass of it counted.
  TilePeak(Probe probe, double operations, int threads)
      : probe_(probe), operations_(operations), team_(threads), rates_(size_t(threads)), before_(measure()) {}

  void begin_turn() { began_ = Clock::now(); }
  void end_turn() {
    const double seconds = since(began_);
    const double after = measure();
    const double peak = (before_ + after) / 2;
    peaks_.push_back(peak);
    fractions_.push_back(operations_ / seconds / peak);
    before_ = after;
  }
  // Medians, and the least and the most of a turn.
  void report(benchmark::State& state) const {
    add("of_peak", fractions_, state);
    add("peak", peaks_, state);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int64_t kRounds = 100000;  // some 2 ms

  static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
  double measure() {
    team_.run([&](int member) {
      int32_t sink = 0;
      const Clock::time_point start = Clock::now();
      const auto operations = double(probe_(kRounds, &sink));
      rates_[size_t(member)] = operations / since(start);
    });
    return std::accumulate(rates_.begin(), rates_.end(), 0.0);
  }
  static void add(const std::string& name, const std::vector<double>& values, benchmark::State& state) {
    const measure::Summary summary = measure::summarize(values);
    state.counters[name] = summary.median;
    state.counters[name + "_min"] = summary.minimum;
    state.counters[name + "_max"] = summary.maximum;
  }

  Probe probe_;
  double operations_;
  ThreadTeam team_;
  std::vector<double> rates_, fractions_, peaks_;
  double before_;
  Clock::time_point began_;
};

}  // namespace updraft
