// Rounding weights to integers in Lanes: what base/quantized_rows' quantize_row does, bit for bit, fast enough to
// follow the reading of a model. Guarded by tests/compute/integer_test.cc. For kernels_<isa>.cc only.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/quantized_rows.h"
#include "compute/cpu/lanes.h"
#include "compute/cpu/unroll.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

// The sixteen values, whole numbers in [0, 255], as bytes.
UPDRAFT_INLINE inline void store_unsigned(Lanes x, uint8_t* out) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.v)));
#elif defined(__AVX2__)
  const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));  // within 128 bits
  const __m256i sorted = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packus_epi16(_mm256_castsi256_si128(sorted), _mm256_extracti128_si256(sorted, 1)));
#else
  uint16x4_t words[4];
  for (int i = 0; i < 4; ++i) words[i] = vmovn_u32(vcvtnq_u32_f32(x.v[i]));
  vst1q_u8(out, vcombine_u8(vmovn_u16(vcombine_u16(words[0], words[1])), vmovn_u16(vcombine_u16(words[2], words[3]))));
#endif
}

// A whole group of weights, 32 or 128 of them; see quantize_row in base/quantized_rows.
inline void quantize_weight_group(const float* w, const QuantizedFormat& format, uint8_t* integers, uint16_t* scale,
                                  uint16_t* offset) {
  const auto stored = [&](float x, uint16_t* bits) UPDRAFT_INLINE {
    *bits = format.scale_type == DType::kF16 ? to_half(x).bits : to_bfloat16(x).bits;
    return format.scale_type == DType::kF16 ? to_float(half_t{*bits}) : to_float(bfloat16_t{*bits});
  };
  Lanes high = Lanes::zero(), low = Lanes::zero();  // low: of -w, so that both are maxima
  for (int i = 0; i < format.group; i += kLanes) {
    high = max(Lanes::load(w + i), high);
    low = max(Lanes::zero() - Lanes::load(w + i), low);
  }
  const float highest = max_lane(high), lowest = 0 - max_lane(low), largest = float(format.largest());
  float s = 0, zero = 0, from = 0;  // u = round((w - from) / s) + zero
  if (format.offset == Offset::kNone) {
    s = stored((-lowest > highest ? -lowest : highest) / (format.bits == 8 ? 127.0f : 7.5f), scale);
    zero = float(format.middle());
  } else {
    s = stored((highest - lowest) / largest, scale);
    if (format.offset == Offset::kMinimum) {
      from = stored(lowest, offset);
    } else {
      if (s > 0) zero = std::min(std::max(std::nearbyint(-lowest / s), 0.0f), largest);
      zero = stored(zero, offset);
    }
  }
  const Lanes bottom = Lanes::broadcast(format.offset == Offset::kNone && format.bits == 8 ? 1.0f : 0.0f);
  for (int i = 0; i < format.group; i += kLanes) {
    Lanes u = Lanes::broadcast(zero);
    if (s > 0) u = u + round((Lanes::load(w + i) - Lanes::broadcast(from)) / Lanes::broadcast(s));
    store_unsigned(min(max(u, bottom), Lanes::broadcast(largest)), integers + i);
  }
}

// Whole groups of finite weights side by side; the plain loops do the rest.
inline void quantize_weights(const float* weights, int64_t columns, const QuantizedFormat& format, uint8_t* integers,
                             uint16_t* scales, uint16_t* offsets) {
  for (int64_t k = 0, g = 0; k < columns; k += format.group, ++g) {
    const int64_t count = columns - k < format.group ? columns - k : format.group;
    uint16_t* offset = format.offset == Offset::kNone ? nullptr : offsets + g;
    Lanes not_finite = Lanes::zero();
    for (int64_t i = 0; i + kLanes <= count; i += kLanes)
      not_finite = fma(Lanes::load(weights + k + i), Lanes::zero(), not_finite);
    if (count == format.group && sum(not_finite) == 0) {
      quantize_weight_group(weights + k, format, integers + k, scales + g, offset);
    } else {
      updraft::quantize_row(weights + k, count, format, integers + k, scales + g, offset);
    }
  }
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
