// A piece of work beside what bounds it, in turns. On a shared machine both move within seconds: the tile unit and the
// memory's channels are other tenants' too, so that a bound measured minutes apart says nothing about the work.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread_team.h"
#include "compute/cpu/probe_kernels.h"
#include "measure/statistics.h"

namespace updraft {

using Seconds = std::chrono::duration<double>;

// A bound: measures for some milliseconds, in units per second.
using Bound = std::function<double()>;

// What the tiles make of operands in registers, operations per second. `probe`: probe_bf16_amx or probe_int8_amx.
inline Bound tile_peak(int64_t (*probe)(int64_t rounds, int32_t* sink), int threads) {
  return [probe, team = std::make_shared<ThreadTeam>(threads), rates = std::vector<double>(size_t(threads))]() mutable {
    team->run([&](int member) {
      int32_t sink = 0;
      const auto start = std::chrono::steady_clock::now();
      const auto operations = double(probe(100000, &sink));  // some 2 ms
      rates[size_t(member)] = operations / Seconds(std::chrono::steady_clock::now() - start).count();
    });
    return std::accumulate(rates.begin(), rates.end(), 0.0);
  };
}

class InTurns {
 public:
  // `units`: what one turn of the work does of what the bound counts.
  InTurns(std::string name, Bound bound, double units)
      : name_(std::move(name)), bound_(std::move(bound)), units_(units), before_(bound_()) {
    rest();
  }

  void begin_turn() { began_ = std::chrono::steady_clock::now(); }
  void end_turn() {
    const double seconds = Seconds(std::chrono::steady_clock::now() - began_).count();
    rest();
    const double after = bound_();
    rest();
    const double bound = (before_ + after) / 2;
    bounds_.push_back(bound);
    fractions_.push_back(units_ / seconds / bound);
    before_ = after;
  }
  // Medians, and the least and the most of a turn: of_<name>, the work's part of the bound, and <name>, the bound.
  void report(benchmark::State& state) const {
    add("of_" + name_, fractions_, state);
    add(name_, bounds_, state);
  }

 private:
  // Work and bound have a team of threads each, and a team that has finished waits for more by spinning, at first.
  static void rest() { std::this_thread::sleep_for(std::chrono::milliseconds(2)); }
  static void add(const std::string& name, const std::vector<double>& values, benchmark::State& state) {
    const measure::Summary summary = measure::summarize(values);
    state.counters[name] = summary.median;
    state.counters[name + "_min"] = summary.minimum;
    state.counters[name + "_max"] = summary.maximum;
  }

  std::string name_;
  Bound bound_;
  double units_, before_;
  std::vector<double> fractions_, bounds_;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace updraft
