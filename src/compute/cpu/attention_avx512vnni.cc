#include "compute/cpu/attention_body.h"
#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {

const AttentionKernels& attention_avx512vnni() { return avx512vnni::attention::kAttentionKernels; }

}  // namespace updraft::compute::cpu
