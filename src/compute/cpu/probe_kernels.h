// The inner loops of the probes, one table per instruction set (probe_<isa>.cc).
#pragma once

#include <cstdint>

namespace updraft::compute::cpu {

struct ProbeKernels {
  // Reads [begin, begin + bytes) as `streams` (1, 2, 4, 8 or 16) equal pieces side by side, 64 bytes of each in turn;
  // bytes is a multiple of streams * 64. Returns something that depends on every byte.
  float (*read)(const float* begin, int64_t bytes, int streams, bool prefetch);
  // `rounds` of independent fused multiply-adds in registers; returns the floating-point operations done, and writes to
  // *sink so that they are done.
  int64_t (*fused_multiply_add)(int64_t rounds, float* sink);
};

const ProbeKernels& probe_avx2();
const ProbeKernels& probe_avx512();
const ProbeKernels& probe_neon();

// With the widest registers that this processor has.
const ProbeKernels& probe_kernels();

// Integer and tile peaks: operations done in `rounds`; only to be called where the processor has them.
int64_t probe_int8_vnni(int64_t rounds, int32_t* sink);
int64_t probe_int8_amx(int64_t rounds, int32_t* sink);  // configures this thread's tiles and releases them
int64_t probe_bf16_amx(int64_t rounds, int32_t* sink);

}  // namespace updraft::compute::cpu
