// Rounding weights to integers in Lanes: what base/quantized_rows' quantize_row does, bit for bit, fast enough to
// follow the reading of a model. Guarded by tests/compute/integer_test.cc. For kernels_<isa>.cc only.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/quantized_rows.h"
#include "compute/cpu/integer_layout.h"
#include "compute/cpu/lanes.h"
#include "compute/cpu/linear_body.h"
#include "compute/cpu/unroll.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

// What rounded quotients become: integers counted from `zero`, within [least, largest], a part of [0, 255].
struct Whole {
  int zero, least, largest;
};

// x to the nearest whole number, even of two, as sixteen bytes.
UPDRAFT_INLINE inline void store_whole(Lanes x, const Whole& whole, uint8_t* out) {
#if defined(__AVX512F__)
  const __m512i u = _mm512_add_epi32(_mm512_cvtps_epi32(x.v), _mm512_set1_epi32(whole.zero));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm512_cvtepi32_epi8(_mm512_min_epi32(_mm512_max_epi32(u, _mm512_set1_epi32(whole.least)),
                                                         _mm512_set1_epi32(whole.largest))));
#elif defined(__AVX2__)
  const auto clamped = [&](__m256 v) UPDRAFT_INLINE {
    const __m256i u = _mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(whole.zero));
    return _mm256_min_epi32(_mm256_max_epi32(u, _mm256_set1_epi32(whole.least)), _mm256_set1_epi32(whole.largest));
  };
  const __m256i words = _mm256_packs_epi32(clamped(x.a), clamped(x.b));  // within 128 bits
  const __m256i sorted = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packus_epi16(_mm256_castsi256_si128(sorted), _mm256_extracti128_si256(sorted, 1)));
#else
  uint16x4_t words[4];
  for (int i = 0; i < 4; ++i) {
    const int32x4_t u = vaddq_s32(vcvtnq_s32_f32(x.v[i]), vdupq_n_s32(whole.zero));
    words[i] =
        vmovn_u32(vreinterpretq_u32_s32(vminq_s32(vmaxq_s32(u, vdupq_n_s32(whole.least)), vdupq_n_s32(whole.largest))));
  }
  vst1q_u8(out, vcombine_u8(vmovn_u16(vcombine_u16(words[0], words[1])), vmovn_u16(vcombine_u16(words[2], words[3]))));
#endif
}

// w / s, correctly rounded, without dividing, which would take longer than all the rest: inverse = 1 / s, rounded. The
// remainder w - q s of the first quotient q is exact, and what it adds makes q right to 2^-46 before the one rounding.
// A stored scale has 11 bits at most, so no w / s lies nearer than 2^-36 to the middle of two floats: that rounding
// goes where a division's goes. (Markstein, "Computation of elementary functions on the IBM RISC System/6000", 1990.)
UPDRAFT_INLINE inline Lanes quotient(Lanes w, Lanes s, Lanes inverse) {
  const Lanes q = w * inverse;
  return fma(fnma(q, s, w), inverse, q);
}
constexpr float kLeastScale = 0x1p-60f, kLargestScale = 0x1p60f;  // where nothing on the way leaves a float's range

// How far rows are asked for ahead. Measured, 8 layers of Mistral-7B's shape as int4 from the page cache: 1.19 s of
// processor time, 1.37 without asking.
constexpr int64_t kAheadBytes = 4096;

// What sixteen groups of one row are rounded with: u = round((w - from) / scale) + zero.
struct GroupRounding {
  float highest[kLanes] = {}, lowest[kLanes] = {};  // of the weights and zero; NaN where a weight is not finite
  float scale[kLanes], inverse[kLanes], from[kLanes] = {}, zero[kLanes];
};

template <class T>
UPDRAFT_INLINE inline void find_range(const T* w, int count, float* highest, float* lowest) {
  Lanes high = Lanes::zero(), low = Lanes::zero(), finite = Lanes::zero();  // low: of -w, so that both are maxima
  for (int i = 0; i < count; i += kLanes) {
    const Lanes x = Lanes::load(w + i);
    high = max(x, high);
    low = max(Lanes::zero() - x, low);
    finite = fma(x, Lanes::zero(), finite);
  }
  *highest = all_finite(finite) ? max_lane(high) : __builtin_nanf("");
  *lowest = 0 - max_lane(low);
}

// Sixteen values as they are stored, and back.
UPDRAFT_INLINE inline Lanes stored(Lanes x, DType type, uint16_t bits[kLanes]) {
  if (type == DType::kF16) {
    x.store(reinterpret_cast<half_t*>(bits));
    return Lanes::load(reinterpret_cast<const half_t*>(bits));
  }
  x.store(reinterpret_cast<bfloat16_t*>(bits));
  return Lanes::load(reinterpret_cast<const bfloat16_t*>(bits));
}

// Scales and offsets of sixteen groups from their ranges, also as stored.
template <Offset kOffset>
UPDRAFT_INLINE inline void choose_scales(const QuantizedFormat& format, GroupRounding& r, uint16_t scales[kLanes],
                                         uint16_t offsets[kLanes]) {
  const Lanes highest = Lanes::load(r.highest), below = Lanes::zero() - Lanes::load(r.lowest);
  const Lanes largest = Lanes::broadcast(float(format.largest()));
  const Lanes range = kOffset == Offset::kNone
                          ? max(below, highest) / Lanes::broadcast(format.bits == 8 ? 127.0f : 7.5f)
                          : (highest + below) / largest;
  const Lanes scale = stored(range, format.scale_type, scales);
  Lanes zero = Lanes::zero();
  if constexpr (kOffset == Offset::kNone) zero = Lanes::broadcast(float(format.middle()));
  if constexpr (kOffset == Offset::kMinimum) stored(Lanes::load(r.lowest), format.scale_type, offsets).store(r.from);
  if constexpr (kOffset == Offset::kPoint)
    zero = stored(min(max(round(below / scale), Lanes::zero()), largest), format.scale_type, offsets);
  scale.store(r.scale);
  (Lanes::broadcast(1) / scale).store(r.inverse);
  zero.store(r.zero);
}

template <class T>
UPDRAFT_INLINE inline void round_group(const T* w, const QuantizedFormat& format, const GroupRounding& r, int g,
                                       uint8_t* integers) {
  const int least = format.offset == Offset::kNone && format.bits == 8 ? 1 : 0;
  const Whole whole{int(r.zero[g]), least, format.largest()};
  const Lanes scale = Lanes::broadcast(r.scale[g]), inverse = Lanes::broadcast(r.inverse[g]);
  const Lanes from = Lanes::broadcast(r.from[g]);
  for (int i = 0; i < format.group; i += kLanes)
    store_whole(quotient(Lanes::load(w + i) - from, scale, inverse), whole, integers + i);
}

// What is no whole group, not finite or extreme: by the plain loop.
template <class T>
void round_plainly(const T* w, int64_t count, const QuantizedFormat& format, uint8_t* integers, uint16_t* scale,
                   uint16_t* offset) {
  float floats[kLargestGroup];
  convert_as<T, float>(w, floats, count);
  updraft::quantize_row(floats, count, format, integers, scale, offset);
}

// Sixteen groups at a time, so that what happens once a group, with long latencies, happens side by side.
template <Offset kOffset, class T>
void round_row(const T* weights, int64_t columns, const QuantizedFormat& format, uint8_t* integers, uint16_t* scales,
               uint16_t* offsets) {
  const int64_t group = format.group, groups = format.groups(columns), whole = columns / group;
  for (int64_t first = 0; first < groups; first += kLanes) {
    const int count = int(std::min<int64_t>(groups - first, kLanes));
    GroupRounding r;
    for (int g = 0; g < count && first + g < whole; ++g) {
      const T* w = weights + (first + g) * group;
      for (int64_t i = 0; i < group; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(w + i + kAheadBytes / sizeof(T));
      find_range(w, format.group, &r.highest[g], &r.lowest[g]);
    }
    uint16_t scale[kLanes], offset[kLanes] = {};
    choose_scales<kOffset>(format, r, scale, offset);
    std::copy_n(scale, count, scales + first);
    if (kOffset != Offset::kNone) std::copy_n(offset, count, offsets + first);
    for (int g = 0; g < count; ++g) {
      const int64_t at = (first + g) * group;
      const bool common = first + g < whole && r.scale[g] >= kLeastScale && r.scale[g] <= kLargestScale;
      if (common && std::isfinite(r.from[g])) {
        round_group(weights + at, format, r, g, integers + at);
      } else {
        round_plainly(weights + at, std::min(group, columns - at), format, integers + at, scales + first + g,
                      kOffset == Offset::kNone ? nullptr : offsets + first + g);
      }
    }
  }
}

template <class T>
void round_row_of(const void* weights, int64_t columns, const QuantizedFormat& format, uint8_t* integers,
                  uint16_t* scales, uint16_t* offsets) {
  const T* w = static_cast<const T*>(weights);
  switch (format.offset) {
    case Offset::kNone:
      return round_row<Offset::kNone>(w, columns, format, integers, scales, offsets);
    case Offset::kMinimum:
      return round_row<Offset::kMinimum>(w, columns, format, integers, scales, offsets);
    case Offset::kPoint:
      return round_row<Offset::kPoint>(w, columns, format, integers, scales, offsets);
  }
}

inline void quantize_weights(DType type, const void* weights, int64_t columns, const QuantizedFormat& format,
                             uint8_t* integers, uint16_t* scales, uint16_t* offsets) {
  switch (type) {
    case DType::kF32:
      return round_row_of<float>(weights, columns, format, integers, scales, offsets);
    case DType::kF16:
      return round_row_of<half_t>(weights, columns, format, integers, scales, offsets);
    case DType::kBF16:
      return round_row_of<bfloat16_t>(weights, columns, format, integers, scales, offsets);
  }
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
