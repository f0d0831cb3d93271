// The kernels this processor can run, one table per instruction set, for tests that compare them.
#pragma once

#include <vector>

#include "compute/cpu/instruction_set.h"

namespace updraft::compute::cpu {

// Other architectures run these tests under emulation, some thirty times slower.
#if defined(__x86_64__)
constexpr bool kEmulated = false;
#else
constexpr bool kEmulated = true;
#endif

inline std::vector<const Kernels*> kernels_here() {
  std::vector<const Kernels*> found;
  for (const InstructionSet& set : available_instruction_sets()) {
    if (set.tiles != nullptr) continue;
#if defined(__x86_64__)
    if (set.name == "avx512") found.push_back(&kernels_avx512());  // what set.kernels is without VNNI
#endif
    found.push_back(set.kernels);
  }
  return found;
}

}  // namespace updraft::compute::cpu
