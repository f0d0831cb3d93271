// Lanes: sixteen floats, whatever the registers. One zmm on AVX-512, two ymm on AVX2, four q registers on NEON. Kernels
// are written once in Lanes and compiled once per instruction set, so that all of them do the same operations on the
// same elements in the same order and give the same bits (the law of the house): every operation here is correctly
// rounded or exact, and sum() is one fixed tree.
//
// Only kernels_<isa>.cc and integer_<isa>.cc may include this (it is compiled with that instruction set's flags);
// everything lives in a namespace of the instruction set's own, so that the linker can never hand one set's inline code
// to another.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>
#if defined(__AVX512VNNI__)
#define UPDRAFT_ISA avx512vnni
#else
#define UPDRAFT_ISA avx512
#endif
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#if defined(__AVXVNNI__)
#define UPDRAFT_ISA avxvnni
#else
#define UPDRAFT_ISA avx2
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__ARM_FEATURE_DOTPROD)
#define UPDRAFT_ISA neondot
#else
#define UPDRAFT_ISA neon
#endif
#else
#error "lanes.h needs AVX-512, AVX2 + FMA + F16C, or AArch64"
#endif

namespace updraft::compute::cpu::UPDRAFT_ISA {

constexpr int kLanes = 16;

#if defined(__AVX512F__)

struct Lanes {
  __m512 v;
  static Lanes zero() { return {_mm512_setzero_ps()}; }
  static Lanes broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Lanes load(const half_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static Lanes load(const bfloat16_t* p) {
    return {_mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16))};
  }
  static Lanes load_first(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p)};
  }  // rest 0
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(half_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  void store(bfloat16_t* p) const {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);  // NaN stays NaN
    const __m512i result = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(result));
  }
  void store_first(float* p, int n) const { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v); }
  friend Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Lanes operator/(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c, rounded once
  friend Lanes fnma(Lanes a, Lanes b, Lanes c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b, rounded once
  friend Lanes max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
  friend Lanes min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
  friend Lanes round(Lanes a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  // lane i of a where i < n, else of b
  static Lanes first_else(int n, Lanes a, Lanes b) { return {_mm512_mask_mov_ps(b.v, __mmask16((1u << n) - 1), a.v)}; }
};

#elif defined(__AVX2__)

struct Lanes {
  __m256 a, b;
  static Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Lanes broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Lanes load(const half_t* p) {
    const __m128i* q = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
  }
  static Lanes load(const bfloat16_t* p) {
    const __m128i* q = reinterpret_cast<const __m128i*>(p);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1)), 16))};
  }
  static __m256i first_mask(int n, int from) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - from), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Lanes load_first(const float* p, int n) {
    return {_mm256_maskload_ps(p, first_mask(n, 0)), _mm256_maskload_ps(p + 8, first_mask(n, 8))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, a), _mm256_storeu_ps(p + 8, b); }
  void store(half_t* p) const {
    __m128i* q = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(q, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(q + 1, _mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT));
  }
  static __m256i bfloat16_bits(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
  }
  void store(bfloat16_t* p) const {
    const __m256i mixed = _mm256_packus_epi32(bfloat16_bits(a), bfloat16_bits(b));  // packs within 128 bits
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
  }
  void store_first(float* p, int n) const {
    _mm256_maskstore_ps(p, first_mask(n, 0), a), _mm256_maskstore_ps(p + 8, first_mask(n, 8), b);
  }
  friend Lanes operator+(Lanes x, Lanes y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  friend Lanes operator-(Lanes x, Lanes y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  friend Lanes operator*(Lanes x, Lanes y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  friend Lanes operator/(Lanes x, Lanes y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  friend Lanes fma(Lanes x, Lanes y, Lanes z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  friend Lanes fnma(Lanes x, Lanes y, Lanes z) {
    return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
  }
  friend Lanes max(Lanes x, Lanes y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  friend Lanes min(Lanes x, Lanes y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  // x, or 0 where k is below the bound; a NaN is not
  friend Lanes zero_below(Lanes k, float bound, Lanes x) {
    const __m256 least = _mm256_set1_ps(bound);
    return {_mm256_and_ps(_mm256_cmp_ps(k.a, least, _CMP_NLT_UQ), x.a),
            _mm256_and_ps(_mm256_cmp_ps(k.b, least, _CMP_NLT_UQ), x.b)};
  }
  // 2^k for integers k held as floats in [-126, 127]
  static Lanes power_of_two(Lanes k) {
    const __m256i bias = _mm256_set1_epi32(127);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k.a), bias), 23)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k.b), bias), 23))};
  }
  friend Lanes round(Lanes x) {
    return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static Lanes first_else(int n, Lanes x, Lanes y) {
    return {_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(first_mask(n, 0))),
            _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(first_mask(n, 8)))};
  }
};

#else  // AArch64

struct Lanes {
  float32x4_t v[4];
  template <class F>
  static Lanes each(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static Lanes zero() { return broadcast(0); }
  static Lanes broadcast(float x) {
    return each([&](int) { return vdupq_n_f32(x); });
  }
  static Lanes load(const float* p) {
    return each([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static Lanes load(const half_t* p) {
    const uint16_t* q = reinterpret_cast<const uint16_t*>(p);
    return each([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(q + 4 * i))); });
  }
  static Lanes load(const bfloat16_t* p) {
    const uint16_t* q = reinterpret_cast<const uint16_t*>(p);
    return each([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(q + 4 * i), 16)); });
  }
  static Lanes load_first(const float* p, int n) {
    float padded[16] = {};
    std::memcpy(padded, p, size_t(n) * sizeof(float));
    return load(padded);
  }
  void store(float* p) const {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v[i]);
  }
  void store(half_t* p) const {
    uint16_t* q = reinterpret_cast<uint16_t*>(p);
    for (int i = 0; i < 4; ++i) vst1_u16(q + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v[i])));
  }
  void store(bfloat16_t* p) const {
    uint16_t* q = reinterpret_cast<uint16_t*>(p);
    for (int i = 0; i < 4; ++i) {
      const uint32x4_t bits = vreinterpretq_u32_f32(v[i]), upper = vshrq_n_u32(bits, 16);
      const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
      const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
      const uint32x4_t kept = vorrq_u32(upper, vdupq_n_u32(0x40));  // NaN stays NaN
      vst1_u16(q + 4 * i, vmovn_u32(vbslq_u32(vceqq_f32(v[i], v[i]), rounded, kept)));
    }
  }
  void store_first(float* p, int n) const {
    float all[16];
    store(all);
    std::memcpy(p, all, size_t(n) * sizeof(float));
  }
  friend Lanes operator+(Lanes a, Lanes b) {
    return each([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
  }
  friend Lanes operator-(Lanes a, Lanes b) {
    return each([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
  }
  friend Lanes operator*(Lanes a, Lanes b) {
    return each([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
  }
  friend Lanes operator/(Lanes a, Lanes b) {
    return each([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
  }
  friend Lanes fma(Lanes a, Lanes b, Lanes c) {
    return each([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  friend Lanes fnma(Lanes a, Lanes b, Lanes c) {
    return each([&](int i) { return vfmsq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  // x86's rule (the second operand when either is NaN or both are zero), so that the bits are the same everywhere
  friend Lanes max(Lanes a, Lanes b) {
    return each([&](int i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
  }
  friend Lanes min(Lanes a, Lanes b) {
    return each([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
  }
  friend Lanes zero_below(Lanes k, float bound, Lanes x) {
    return each([&](int i) {
      const uint32x4_t below = vcltq_f32(k.v[i], vdupq_n_f32(bound));
      return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x.v[i]), below));
    });
  }
  static Lanes power_of_two(Lanes k) {
    return each([&](int i) {
      return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(k.v[i]), vdupq_n_s32(127)), 23));
    });
  }
  friend Lanes round(Lanes a) {
    return each([&](int i) { return vrndnq_f32(a.v[i]); });
  }
  static Lanes first_else(int n, Lanes a, Lanes b) {
    float x[16], y[16];
    a.store(x), b.store(y);
    std::memcpy(y, x, size_t(n) * sizeof(float));
    return load(y);
  }
};

#endif

// x 2^k for integers k held as floats in [-252, 254] and x in [0.5, 2) or NaN, rounded once; NaN where k is NaN. From
// k = -151 on it is 0, and no operation may find that out by underflow: on x86 one lane of that costs the whole vector
// 90 to 180 ns of microcode where all of exp() takes 3.
#if defined(__AVX512F__)
inline Lanes times_power_of_two(Lanes x, Lanes k) {
  const __mmask16 some = _mm512_cmp_ps_mask(k.v, _mm512_set1_ps(-150.0f), _CMP_NLT_UQ);
  return {_mm512_maskz_scalef_ps(some, x.v, k.v)};
}
#else
inline Lanes times_power_of_two(Lanes x, Lanes k) {
  const Lanes half = round(k * Lanes::broadcast(0.5f));
  return zero_below(k, -150.0f, x) * Lanes::power_of_two(half) * Lanes::power_of_two(k - half);
}
#endif

// The larger of a and |b| by their bits, a without sign: NaN above infinity above every number.
#if defined(__AVX512F__)
inline Lanes larger_bits(Lanes a, Lanes b) {
  const __m512i bits = _mm512_and_si512(_mm512_castps_si512(b.v), _mm512_set1_epi32(0x7fffffff));
  return {_mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a.v), bits))};
}
#elif defined(__AVX2__)
inline Lanes larger_bits(Lanes a, Lanes b) {
  const auto larger = [](__m256 x, __m256 y) {
    const __m256i bits = _mm256_and_si256(_mm256_castps_si256(y), _mm256_set1_epi32(0x7fffffff));
    return _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(x), bits));
  };
  return {larger(a.a, b.a), larger(a.b, b.b)};
}
#else
inline Lanes larger_bits(Lanes a, Lanes b) {
  return Lanes::each([&](int i) {
    return vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(a.v[i]), vreinterpretq_u32_f32(vabsq_f32(b.v[i]))));
  });
}
#endif

// The one tree over sixteen lanes: i with i + 8, then + 4, + 2, + 1.
#if defined(__AVX2__)
#if defined(__AVX512F__)
inline __m256 lower(Lanes x) { return _mm512_castps512_ps256(x.v); }
inline __m256 upper(Lanes x) { return _mm512_extractf32x8_ps(x.v, 1); }
#else
inline __m256 lower(Lanes x) { return x.a; }
inline __m256 upper(Lanes x) { return x.b; }
#endif

inline float sum(Lanes x) {
  const __m256 s8 = _mm256_add_ps(lower(x), upper(x));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

#if defined(__AVX512F__)
inline bool all_finite(Lanes x) { return _mm512_fpclass_ps_mask(x.v, 0x99) == 0; }  // NaNs of both kinds, infinities
#else
inline bool all_finite(Lanes x) {
  const __m256 zero = _mm256_setzero_ps();  // finite x 0 = 0
  return _mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(_mm256_mul_ps(x.a, zero), zero, _CMP_EQ_OQ),
                                          _mm256_cmp_ps(_mm256_mul_ps(x.b, zero), zero, _CMP_EQ_OQ))) == 0xff;
}
#endif

inline float max_lane(Lanes x) {
  const __m256 m8 = _mm256_max_ps(lower(x), upper(x));
  const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
  const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
  return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}
#else
inline float sum(Lanes x) {
  const float32x4_t s4 = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
  const float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
  return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}

inline bool all_finite(Lanes x) {
  const float32x4_t infinity = vdupq_n_f32(__builtin_inff());
  const auto finite = [&](int i) { return vcltq_f32(vabsq_f32(x.v[i]), infinity); };
  return vminvq_u32(vandq_u32(vandq_u32(finite(0), finite(1)), vandq_u32(finite(2), finite(3)))) != 0;
}

inline float max_lane(Lanes x) {
  const auto larger = [](float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); };
  const float32x4_t m4 = larger(larger(x.v[0], x.v[2]), larger(x.v[1], x.v[3]));
  float m[4];
  vst1q_f32(m, m4);
  const float even = m[0] > m[2] ? m[0] : m[2], odd = m[1] > m[3] ? m[1] : m[3];
  return even > odd ? even : odd;
}
#endif

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
