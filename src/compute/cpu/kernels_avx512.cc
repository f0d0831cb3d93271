#include "compute/cpu/attention_body.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/linear_body.h"
#include "compute/cpu/rounding_body.h"
#include "compute/cpu/vector_body.h"

namespace updraft::compute::cpu {

const Kernels& kernels_avx512() {
  static constexpr Kernels kTable = {.name = "avx512",
                                     .vector = avx512::kVectorKernels,
                                     .linear = avx512::kLinearKernels,
                                     .attention = avx512::attention::kAttentionKernels,
                                     .quantize_weights = avx512::quantize_weights};
  return kTable;
}

}  // namespace updraft::compute::cpu
