#include "compute/cpu/probe_body.h"

namespace updraft::compute::cpu {

const ProbeKernels& probe_avx512() { return avx512::kProbeKernels; }

}  // namespace updraft::compute::cpu
