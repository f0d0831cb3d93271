#include "compute/cpu/probe_body.h"

namespace updraft::compute::cpu {

const ProbeKernels& probe_avx2() { return avx2::kProbeKernels; }

}  // namespace updraft::compute::cpu
