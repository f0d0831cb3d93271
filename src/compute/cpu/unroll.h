// unroll<N>(f): calls f(Index<0>), f(Index<1>), ... f(Index<N - 1>), always inlined, so that arrays of registers
// indexed by it really are registers. (GCC 12 ignores `#pragma GCC unroll` in templates that are inlined late.)
//
// For kernels_<isa>.cc only, after lanes.h: it lives in the instruction set's own namespace.
#pragma once

#include "compute/cpu/lanes.h"

#define UPDRAFT_INLINE __attribute__((always_inline))

namespace updraft::compute::cpu::UPDRAFT_ISA {

template <int I>
struct Index {
  static constexpr int value = I;
  constexpr operator int() const { return I; }
};

template <int N, int I = 0, class F>
UPDRAFT_INLINE inline void unroll(F&& f) {
  if constexpr (I < N) {
    f(Index<I>());
    unroll<N, I + 1>(f);
  }
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
