// PairLanes and IntLanes: sixteen pairs of 16-bit integers and sixteen 32-bit sums of their products. Every operation
// is exact (the caller keeps sums under 2^31), so all instruction sets give the same integers whatever instructions
// make them: vpdpwssd where the processor has VNNI, vpmaddwd and an addition without, widening multiply-adds on NEON.
//
// For kernels_<isa>.cc only, like lanes.h.
#pragma once

#include "compute/cpu/lanes.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

#if defined(__AVX512F__)

struct PairLanes {
  __m512i v;
  static PairLanes load(const int8_t* p) {  // [16][2], widened
    return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static PairLanes broadcast(const int16_t* pair) {
    int32_t both;
    std::memcpy(&both, pair, 4);
    return {_mm512_set1_epi32(both)};
  }
};

struct IntLanes {
  __m512i v;
  static IntLanes zero() { return {_mm512_setzero_si512()}; }
  friend IntLanes add_products(PairLanes a, PairLanes b, IntLanes sum) {
#if defined(__AVX512VNNI__)
    // Written out: GCC 12 copies every accumulator before and after the intrinsic (a fifth of attention's time).
    asm("vpdpwssd %2, %1, %0" : "+v"(sum.v) : "v"(a.v), "v"(b.v));
    return sum;
#else
    return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v))};
#endif
  }
  Lanes to_float() const { return {_mm512_cvtepi32_ps(v)}; }
};

// to[i] = x[i], whole numbers of 16 bits.
inline void store_whole(Lanes x, int16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x.v)));
}

#elif defined(__AVX2__)

struct PairLanes {
  __m256i a, b;
  static PairLanes load(const int8_t* p) {
    const __m128i* q = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(q)), _mm256_cvtepi8_epi16(_mm_loadu_si128(q + 1))};
  }
  static PairLanes broadcast(const int16_t* pair) {
    int32_t both;
    std::memcpy(&both, pair, 4);
    return {_mm256_set1_epi32(both), _mm256_set1_epi32(both)};
  }
};

struct IntLanes {
  __m256i a, b;
  static IntLanes zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  friend IntLanes add_products(PairLanes x, PairLanes y, IntLanes sum) {
    return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(x.a, y.a)), _mm256_add_epi32(sum.b, _mm256_madd_epi16(x.b, y.b))};
  }
  Lanes to_float() const { return {_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)}; }
};

inline void store_whole(Lanes x, int16_t* to) {
  const __m256i mixed = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));  // within 128 bits
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(mixed, 0xd8));
}

#else  // AArch64

struct PairLanes {
  int16x8_t even[2], odd[2];  // the first and the second of each pair
  static PairLanes load(const int8_t* p) {
    const int8x16x2_t both = vld2q_s8(p);
    return {{vmovl_s8(vget_low_s8(both.val[0])), vmovl_s8(vget_high_s8(both.val[0]))},
            {vmovl_s8(vget_low_s8(both.val[1])), vmovl_s8(vget_high_s8(both.val[1]))}};
  }
  static PairLanes broadcast(const int16_t* pair) {
    const int16x8_t first = vdupq_n_s16(pair[0]), second = vdupq_n_s16(pair[1]);
    return {{first, first}, {second, second}};
  }
};

struct IntLanes {
  int32x4_t v[4];
  static IntLanes zero() { return {{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }
  friend IntLanes add_products(PairLanes a, PairLanes b, IntLanes sum) {
    for (int i = 0; i < 2; ++i) {
      sum.v[2 * i] = vmlal_s16(sum.v[2 * i], vget_low_s16(a.even[i]), vget_low_s16(b.even[i]));
      sum.v[2 * i] = vmlal_s16(sum.v[2 * i], vget_low_s16(a.odd[i]), vget_low_s16(b.odd[i]));
      sum.v[2 * i + 1] = vmlal_high_s16(sum.v[2 * i + 1], a.even[i], b.even[i]);
      sum.v[2 * i + 1] = vmlal_high_s16(sum.v[2 * i + 1], a.odd[i], b.odd[i]);
    }
    return sum;
  }
  Lanes to_float() const {
    return Lanes::each([&](int i) { return vcvtq_f32_s32(v[i]); });
  }
};

inline void store_whole(Lanes x, int16_t* to) {
  for (int i = 0; i < 4; ++i) vst1_s16(to + 4 * i, vmovn_s32(vcvtnq_s32_f32(x.v[i])));
}

#endif

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
