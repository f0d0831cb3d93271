#include <immintrin.h>

#include "compute/cpu/probe_kernels.h"

namespace updraft::compute::cpu {

int64_t probe_int8_vnni(int64_t rounds, int32_t* sink) {
  constexpr int kChains = 12;
  __m512i sums[kChains];
  for (__m512i& chain : sums) chain = _mm512_set1_epi32(*sink);
  const __m512i a = _mm512_set1_epi8(char(*sink)), b = _mm512_set1_epi8(1);
  for (int64_t round = 0; round < rounds; ++round)
    for (int repeat = 0; repeat < 4; ++repeat)
      for (__m512i& chain : sums) chain = _mm512_dpbusd_epi32(chain, a, b);
  __m512i total = _mm512_setzero_si512();
  for (const __m512i& chain : sums) total = _mm512_add_epi32(total, chain);
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, total);
  *sink = lanes[0];
  return rounds * 4 * kChains * 64 * 2;
}

}  // namespace updraft::compute::cpu
