#include "compute/cpu/attention_body.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/linear_body.h"
#include "compute/cpu/rounding_body.h"
#include "compute/cpu/vector_body.h"

namespace updraft::compute::cpu {

const Kernels& kernels_avx2() {
  static constexpr Kernels kTable = {.name = "avx2",
                                     .vector = avx2::kVectorKernels,
                                     .linear = avx2::kLinearKernels,
                                     .attention = avx2::attention::kAttentionKernels,
                                     .quantize_weights = avx2::quantize_weights};
  return kTable;
}

}  // namespace updraft::compute::cpu
