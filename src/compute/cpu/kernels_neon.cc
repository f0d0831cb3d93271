#include "compute/cpu/attention_body.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/linear_body.h"
#include "compute/cpu/rounding_body.h"
#include "compute/cpu/vector_body.h"

namespace updraft::compute::cpu {

const Kernels& kernels_neon() {
  static constexpr Kernels kTable = {.name = "neon",
                                     .vector = neon::kVectorKernels,
                                     .linear = neon::kLinearKernels,
                                     .attention = neon::attention::kAttentionKernels,
                                     .quantize_weights = neon::quantize_weights};
  return kTable;
}

}  // namespace updraft::compute::cpu
