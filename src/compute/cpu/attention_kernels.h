// The attention half of a Kernels table: filled by attention_body.h in each kernels_<isa>.cc.
#pragma once

#include <cstdint>

namespace updraft::compute::cpu {

struct AttentionKernels {};

}  // namespace updraft::compute::cpu
