// The table of vector_math.h's functions.   For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/kernels.h"
#include "compute/cpu/vector_math.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

template <Lanes (*F)(Lanes)>
void for_each(const float* x, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) F(Lanes::load(x + i)).store(out + i);
  if (i < count) F(Lanes::load_first(x + i, int(count - i))).store_first(out + i, int(count - i));
}

constexpr VectorKernels kVectorKernels = {.exp = for_each<exp>, .silu = for_each<silu>, .dot = dot};

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
