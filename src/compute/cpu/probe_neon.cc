#include "compute/cpu/probe_body.h"

namespace updraft::compute::cpu {

const ProbeKernels& probe_neon() { return neon::kProbeKernels; }

}  // namespace updraft::compute::cpu
