#include "compute/cpu/kernels.h"
#include "compute/cpu/linear_body.h"

namespace updraft::compute::cpu {

const Kernels& kernels_avx512() {
  static constexpr Kernels kTable = {.name = "avx512", .linear = avx512::kLinearKernels, .attention = {}};
  return kTable;
}

}  // namespace updraft::compute::cpu
