// The instruction sets whose kernels this processor can run, for tests that compare them.
#pragma once

#include <vector>

#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {

inline std::vector<const Kernels*> kernels_here() {
#if defined(__x86_64__)
  std::vector<const Kernels*> found;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&kernels_avx2());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    found.push_back(&kernels_avx512());
  return found;
#else
  return {&kernels_neon()};
#endif
}

}  // namespace updraft::compute::cpu
