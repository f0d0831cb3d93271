// One seed per run of a test program: UPDRAFT_SEED repeats a run, and every run prints its own. For tests only.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>

namespace updraft::test {

inline uint64_t run_seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("UPDRAFT_SEED");
    const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::cout << "UPDRAFT_SEED=" << value << std::endl;
    return value;
  }();
  return seed;
}

// Numbers that are the same with every compiler and library, unlike <random>'s distributions.
class Random {
 public:
  explicit Random(uint64_t stream) : state_(run_seed() * 0x9e3779b97f4a7c15u + stream) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int64_t integer(int64_t low, int64_t high) {
    return low + int64_t(next() % uint64_t(high - low + 1));
  }                                                         // [low, high]
  double real() { return double(next() >> 11) * 0x1p-53; }  // [0, 1)
  bool chance(double p) { return real() < p; }
  // Zero mean, variance one, bounded by 3.5: the sum of twelve uniforms would do as well, four are faster.
  float normal() { return float((real() + real() + real() + real() - 2) * 1.7320508075688772); }

 private:
  uint64_t state_;
};

}  // namespace updraft::test
