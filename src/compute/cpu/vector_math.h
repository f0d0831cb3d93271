// Vector math in Lanes: exp, silu, dot products, sums of squares and RMSNorm, the same bits on every instruction set.
// Every reduction is 16 partial sums by index mod 16 and the one tree sum(); exp is our own polynomial, so no library's
// version decides a bit. Errors measured and bounded by tests/compute/vector_math_test.cc. For kernels_<isa>.cc only,
// like lanes.h.
#pragma once

#include <cstdint>

#include "compute/cpu/lanes.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

// e^x, at most 1 unit in the last place from exact; denormal results are right to 1 unit of theirs. 0 below -103.98 and
// at -inf, inf above 88.73, NaN stays NaN, exp(0) is exactly 1. x = k ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite: ln 2
// in two floats); e^r = 1 + r + r^2 q(r), where q (degree 4) was fitted for the smallest largest relative
// error, 3.2e-9. k reaches 128 and -150.
inline Lanes exp(Lanes x) {
  x = min(Lanes::broadcast(89.0f), max(Lanes::broadcast(-105.0f), x));  // in this order NaN comes through
  const Lanes k = round(x * Lanes::broadcast(0x1.715476p+0f));
  Lanes r = fnma(k, Lanes::broadcast(0x1.62e430p-1f), x);
  r = fnma(k, Lanes::broadcast(-0x1.05c610p-29f), r);
  Lanes p = fma(Lanes::broadcast(0x1.6a4b36p-10f), r, Lanes::broadcast(0x1.12398ep-7f));
  p = fma(p, r, Lanes::broadcast(0x1.5558b2p-5f));
  p = fma(p, r, Lanes::broadcast(0x1.555492p-3f));
  p = fma(p, r, Lanes::broadcast(0x1.fffffcp-2f));
  p = fma(p, r, Lanes::broadcast(1.0f));
  p = fma(p, r, Lanes::broadcast(1.0f));
  return times_power_of_two(p, k);
}

// silu(x) = x / (1 + e^-x)
inline Lanes silu(Lanes x) { return x / (Lanes::broadcast(1.0f) + exp(Lanes::zero() - x)); }

// sum of a_i b_i, i < n
inline float dot(const float* a, const float* b, int64_t n) {
  Lanes partial = Lanes::zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) partial = fma(Lanes::load(a + i), Lanes::load(b + i), partial);
  if (i < n) partial = fma(Lanes::load_first(a + i, int(n - i)), Lanes::load_first(b + i, int(n - i)), partial);
  return sum(partial);
}

inline float sum_of_squares(const float* x, int64_t n) { return dot(x, x, n); }

// out_i = x_i s weight_i with s = 1 / sqrt(mean(x^2) + epsilon); out may be x.
inline void rms_norm(const float* x, const float* weight, float epsilon, int64_t n, float* out) {
  const float mean = sum_of_squares(x, n) / float(n);
  const Lanes s = Lanes::broadcast(1.0f / __builtin_sqrtf(mean + epsilon));  // both correctly rounded
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) (Lanes::load(x + i) * s * Lanes::load(weight + i)).store(out + i);
  if (i == n) return;
  const int rest = int(n - i);
  (Lanes::load_first(x + i, rest) * s * Lanes::load_first(weight + i, rest)).store_first(out + i, rest);
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
