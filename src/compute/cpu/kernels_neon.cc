#include "compute/cpu/attention_body.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/linear_body.h"

namespace updraft::compute::cpu {

const Kernels& kernels_neon() {
  static constexpr Kernels kTable = {
      .name = "neon", .linear = neon::kLinearKernels, .attention = neon::attention::kAttentionKernels};
  return kTable;
}

}  // namespace updraft::compute::cpu
