// The integer products in Lanes and Ints (sixteen 32-bit integers), compiled once per instruction set: what differs is
// one operation, the four-way byte product dot(). Numerics and layouts: integer_kernels.h, integer_layout.h.
//
// For integer_<isa>.cc only.
#pragma once

#include <limits>

#include "compute/cpu/integer_kernels.h"
#include "compute/cpu/lanes.h"
#include "compute/cpu/unroll.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

// Ints: sixteen int32, one a row.   Bytes: 64 bytes, a quad of columns of 16 rows.   Quad: four activations, broadcast.
// Operand<Bits>: weights as dot() wants them; a weight u counts there as u - kCentre<Bits>.
#if defined(__AVX512VNNI__)

struct Ints {
  __m512i v;
  static Ints broadcast(int32_t x) { return {_mm512_set1_epi32(x)}; }
  static Ints rounded(Lanes x) { return {_mm512_cvtps_epi32(x.v)}; }
  friend Ints operator+(Ints x, Ints y) { return {_mm512_add_epi32(x.v, y.v)}; }
  Lanes to_float() const { return {_mm512_cvtepi32_ps(v)}; }
};
struct Bytes {
  __m512i v;
  static Bytes load(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
  Bytes low() const { return {_mm512_and_si512(v, _mm512_set1_epi8(15))}; }
  Bytes high() const { return {_mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15))}; }
};
struct Quad {
  __m512i v;
  static Quad load(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return {_mm512_set1_epi32(four)};
  }
};
template <int Bits>
struct Operand {
  __m512i v;
  explicit Operand(Bytes b) : v(b.v) {}
};
template <int Bits>
constexpr int kCentre = 0;
template <int Bits>
UPDRAFT_INLINE inline Ints dot(Ints sum, const Operand<Bits>& w, Quad a) {
  // Not the intrinsic: for it GCC 12 keeps the sums in memory too, a store for every product.
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.v) : "v"(w.v), "v"(a.v));
  return sum;
}

constexpr int kIntegerTokens = 12;  // 2 x 12 sums, 4 operands, 1 mask: 29 of 32; activations come from memory
constexpr int kIntegerHalves = 2;
constexpr int kStreamTokens = 16;  // more than 12 take one half of the panel after the other: 16 sums

#elif defined(__AVX2__)

struct Ints {
  __m256i a, b;
  static Ints broadcast(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static Ints rounded(Lanes x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
  friend Ints operator+(Ints x, Ints y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  Lanes to_float() const { return {_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)}; }
};
struct Bytes {
  __m256i a, b;
  static Bytes load(const uint8_t* p) {
    const __m256i* q = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
  }
  Bytes low() const {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)};
  }
  Bytes high() const {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(_mm256_srli_epi16(a, 4), mask), _mm256_and_si256(_mm256_srli_epi16(b, 4), mask)};
  }
};
struct Quad {
  __m256i v;
  static Quad load(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return {_mm256_set1_epi32(four)};
  }
};

#if defined(__AVXVNNI__)

template <int Bits>
struct Operand {
  __m256i a, b;
  explicit Operand(Bytes w) : a(w.a), b(w.b) {}
};
template <int Bits>
constexpr int kCentre = 0;
template <int Bits>
UPDRAFT_INLINE inline Ints dot(Ints sum, const Operand<Bits>& w, Quad x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.a) : "x"(w.a), "x"(x.v));  // as above
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.b) : "x"(w.b), "x"(x.v));
  return sum;
}

#else

// maddubs adds two products into 16 bits and saturates: 15 * 127 * 2 is small, 255 * 127 * 2 is not. So 8-bit weights
// enter as w = u - 128 in absolute value, at most 128, and the activations take w's sign: 128 * 127 * 2 = 32512 fits.
template <int Bits>
struct Operand {
  __m256i a, b;
  explicit Operand(Bytes w) : a(w.a), b(w.b) {}
};
template <>
struct Operand<8> {
  __m256i a, b, absolute_a, absolute_b;
  explicit Operand(Bytes w)
      : a(_mm256_xor_si256(w.a, _mm256_set1_epi8(-128))),
        b(_mm256_xor_si256(w.b, _mm256_set1_epi8(-128))),
        absolute_a(_mm256_abs_epi8(a)),
        absolute_b(_mm256_abs_epi8(b)) {}
};
template <int Bits>
constexpr int kCentre = Bits == 8 ? 128 : 0;

UPDRAFT_INLINE inline __m256i add_quads(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
  return _mm256_add_epi32(sum,
                          _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned_bytes, signed_bytes), _mm256_set1_epi16(1)));
}
template <int Bits>
UPDRAFT_INLINE inline Ints dot(Ints sum, const Operand<Bits>& w, Quad x) {
  if constexpr (Bits == 8) {
    return {add_quads(sum.a, w.absolute_a, _mm256_sign_epi8(x.v, w.a)),
            add_quads(sum.b, w.absolute_b, _mm256_sign_epi8(x.v, w.b))};
  } else {
    return {add_quads(sum.a, w.a, x.v), add_quads(sum.b, w.b, x.v)};
  }
}

#endif

constexpr int kIntegerTokens = 4;
constexpr int kIntegerHalves = 1;
constexpr int kStreamTokens = 4;

#else  // AArch64

struct Ints {
  int32x4_t v[4];
  static Ints broadcast(int32_t x) { return {{vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x)}}; }
  static Ints rounded(Lanes x) {
    return {{vcvtnq_s32_f32(x.v[0]), vcvtnq_s32_f32(x.v[1]), vcvtnq_s32_f32(x.v[2]), vcvtnq_s32_f32(x.v[3])}};
  }
  friend Ints operator+(Ints x, Ints y) {
    return {
        {vaddq_s32(x.v[0], y.v[0]), vaddq_s32(x.v[1], y.v[1]), vaddq_s32(x.v[2], y.v[2]), vaddq_s32(x.v[3], y.v[3])}};
  }
  Lanes to_float() const {
    return Lanes::each([&](int i) { return vcvtq_f32_s32(v[i]); });
  }
};
struct Bytes {
  uint8x16_t v[4];
  static Bytes load(const uint8_t* p) { return {{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}}; }
  Bytes low() const {
    const uint8x16_t mask = vdupq_n_u8(15);
    return {{vandq_u8(v[0], mask), vandq_u8(v[1], mask), vandq_u8(v[2], mask), vandq_u8(v[3], mask)}};
  }
  Bytes high() const { return {{vshrq_n_u8(v[0], 4), vshrq_n_u8(v[1], 4), vshrq_n_u8(v[2], 4), vshrq_n_u8(v[3], 4)}}; }
};
struct Quad {
  int8x16_t v;
  static Quad load(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return {vreinterpretq_s8_s32(vdupq_n_s32(four))};
  }
};
// Both instructions multiply signed bytes: 8-bit weights enter as u - 128.
template <int Bits>
struct Operand {
  int8x16_t v[4];
  explicit Operand(Bytes w) {
    for (int i = 0; i < 4; ++i) v[i] = vreinterpretq_s8_u8(Bits == 8 ? veorq_u8(w.v[i], vdupq_n_u8(128)) : w.v[i]);
  }
};
template <int Bits>
constexpr int kCentre = Bits == 8 ? 128 : 0;
template <int Bits>
UPDRAFT_INLINE inline Ints dot(Ints sum, const Operand<Bits>& w, Quad a) {
#if defined(__ARM_FEATURE_DOTPROD)
  for (int i = 0; i < 4; ++i) sum.v[i] = vdotq_s32(sum.v[i], w.v[i], a.v);
#else
  for (int i = 0; i < 4; ++i) {
    const int16x8_t low = vmull_s8(vget_low_s8(w.v[i]), vget_low_s8(a.v)), high = vmull_high_s8(w.v[i], a.v);
    sum.v[i] = vaddq_s32(sum.v[i], vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
  }
#endif
  return sum;
}

constexpr int kIntegerTokens = 4;
constexpr int kIntegerHalves = 1;
constexpr int kStreamTokens = 4;

#endif

// The sixteen values, in [-127, 127], as bytes.
UPDRAFT_INLINE inline void store_bytes(Ints x, int8_t* out) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(x.v));
#elif defined(__AVX2__)
  const __m256i words = _mm256_packs_epi32(x.a, x.b);  // within 128 bits
  const __m256i sorted = _mm256_permute4x64_epi64(words, 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packs_epi16(_mm256_castsi256_si128(sorted), _mm256_extracti128_si256(sorted, 1)));
#else
  int16x4_t words[4];
  for (int i = 0; i < 4; ++i) words[i] = vmovn_s32(x.v[i]);
  vst1q_s8(out, vcombine_s8(vmovn_s16(vcombine_s16(words[0], words[1])), vmovn_s16(vcombine_s16(words[2], words[3]))));
#endif
}

// take(i, sixteen values from x[i] on) for a group of `count` values, zeros after them.
template <class Take>
UPDRAFT_INLINE inline void walk_group(const float* x, int64_t count, int group, const Take& take) {
  if (count >= group) {
    for (int64_t i = 0; i < group; i += kLanes) take(i, Lanes::load(x + i));
  } else {
    for (int64_t i = 0; i < group; i += kLanes) {
      const int64_t left = count > i ? count - i : 0;
      take(i, Lanes::load_first(x + i, int(left < kLanes ? left : kLanes)));
    }
  }
}

// NaN where a value is not finite.
UPDRAFT_INLINE inline float largest_of(const float* x, int64_t count, int group) {
  Lanes largest = Lanes::zero();
  walk_group(x, count, group, [&](int64_t, Lanes v) UPDRAFT_INLINE { largest = larger_bits(largest, v); });
  return all_finite(largest) ? max_lane(largest) : std::numeric_limits<float>::quiet_NaN();
}

// Returns the sum of the integers.
UPDRAFT_INLINE inline int32_t round_group(const float* x, int64_t count, int group, float inverse, int8_t* integers) {
  Ints total = Ints::broadcast(0);
  walk_group(x, count, group, [&](int64_t i, Lanes v) UPDRAFT_INLINE {
    const Ints q = Ints::rounded(v * Lanes::broadcast(inverse));
    store_bytes(q, integers + i);
    total = total + q;
  });
  return int32_t(sum(total.to_float()));  // exact
}

// Sixteen groups at a time, so that what happens once a group, with long latencies, happens side by side.
template <int Group>
void quantize_groups(const float* x, int64_t columns, const IntegerActivations& out) {
  const Lanes steps = Lanes::broadcast(127);
  const int64_t groups = (columns + Group - 1) / Group;
  for (int64_t first = 0; first < groups; first += kLanes) {
    const int64_t count = groups - first < kLanes ? groups - first : kLanes;
    alignas(64) float largest[kLanes] = {}, scales[kLanes], inverses[kLanes];
    for (int64_t g = 0, at = first * Group; g < count; ++g, at += Group) {
      // Another thread may have written what comes next: its cache answers slowly, but many at a time.
      for (int64_t i = 0; i < Group; i += kLanes) __builtin_prefetch(x + at + kLanes * Group + i);
      largest[g] = largest_of(x + at, columns - at, Group);
    }
    (Lanes::load(largest) / steps).store(scales);
    (steps / Lanes::load(largest)).store(inverses);
    for (int64_t g = 0, at = first * Group; g < count; ++g, at += Group) {
      const IntegerActivations to = out.at(first + g, 0);
      if (largest[g] >= 0x1p-120f) {
        *to.scales = scales[g];
        *to.sums = round_group(x + at, columns - at, Group, inverses[g], to.integers);
      } else {
        *to.scales = largest[g] * 0;  // 0 or NaN
        *to.sums = 0;
        std::memset(to.integers, 0, Group);
      }
    }
  }
}

inline void quantize_row(const float* x, int64_t columns, const IntegerActivations& out) {
  switch (out.group) {
    case 128:
      return quantize_groups<128>(x, columns, out);
    case 64:
      return quantize_groups<64>(x, columns, out);
    default:
      return quantize_groups<32>(x, columns, out);
  }
}

constexpr int quads_of(int group) { return int(IntegerLayout::step_columns(group)) / 4; }

// A short group of several tokens is written out, where that is not too much code: the end of a loop over its few lines
// comes too soon to be foretold.
constexpr bool written_out(int quads, int group, int tokens, int halves) {
  return group == 4 * quads && tokens >= 4 && tokens * halves * quads <= 128;
}

// A distance of 0: nothing is asked for.
UPDRAFT_INLINE inline void ask_ahead(const uint8_t* line, int64_t near_bytes, int64_t far_bytes) {
  if (near_bytes == 0) return;
  __builtin_prefetch(line + near_bytes, 0, 3);
  if (far_bytes != 0) __builtin_prefetch(line + far_bytes, 0, 2);
}

// sums[h][t] += the products of one group's weights, `Halves` x 16 rows from `weights` on.
template <int Bits, int Group, int Halves, int Tokens>
UPDRAFT_INLINE inline void add_products(const uint8_t* weights, const IntegerStrides& strides, int64_t columns,
                                        const int8_t* a, int64_t near_bytes, int64_t far_bytes, Ints* sums) {
  constexpr int Quads = quads_of(Group), kLines = Bits == 4 ? Quads / 2 : Quads;
  const auto add = [&](auto quad_offset, int64_t k, const Bytes* bytes) UPDRAFT_INLINE {
    const auto operand = [&](int h) UPDRAFT_INLINE {
      return Operand<Bits>(Bits == 8 ? bytes[h] : quad_offset == 0 ? bytes[h].low() : bytes[h].high());
    };
    const Operand<Bits> w[2] = {operand(0), operand(Halves - 1)};
    unroll<Tokens>([&](auto t) UPDRAFT_INLINE {
      const Quad four = Quad::load(a + t * Group + k + 4 * quad_offset);  // once for both halves
      unroll<Halves>([&](auto h)
                         UPDRAFT_INLINE { sums[h * Tokens + t] = dot<Bits>(sums[h * Tokens + t], w[h], four); });
    });
  };
  const auto add_line = [&](int64_t k, int line) UPDRAFT_INLINE {
    Bytes bytes[Halves];
    const uint8_t* pair = weights + line * strides.pair;
    unroll<Halves>([&](auto h) UPDRAFT_INLINE {
      bytes[h] = Bytes::load(pair + h * 64);
      ask_ahead(pair + h * 64, near_bytes, far_bytes);
    });
    add(Index<0>(), k + 4 * line, bytes);
    if constexpr (Bits == 4) add(Index<kLines>(), k + 4 * line, bytes);
  };
  if constexpr (written_out(Quads, Group, Tokens, Halves)) {
    unroll<kLines>([&](auto line) UPDRAFT_INLINE { add_line(0, line); });
  } else {
    const int64_t next_step = kLines == IntegerStrides::kRank ? strides.rank : kLines * strides.pair;
    for (int64_t k = 0; k < columns; k += 4 * Quads, weights += next_step)
      for (int line = 0; line < kLines; ++line) add_line(k, line);
  }
}

UPDRAFT_INLINE inline Lanes load_scales(const uint8_t* p, DType type) {
  return type == DType::kF16 ? Lanes::load(reinterpret_cast<const half_t*>(p))
                             : Lanes::load(reinterpret_cast<const bfloat16_t*>(p));
}

// What one group of each token brings to the sums of all rows: computed once. One by one: whole vectors of tokens would
// touch lines that nobody needs in L1, measured 6 % slower from memory.
template <int Tokens>
struct TokenTerms {
  int32_t starts[Tokens];  // of the integer sums
  float offsets[Tokens];   // times the weights' offsets, if there are any

  UPDRAFT_INLINE TokenTerms(const IntegerActivations& a, int32_t start, bool has_offsets) {
    for (int t = 0; t < Tokens; ++t) starts[t] = start * a.sums[t];
    if (has_offsets)
      for (int t = 0; t < Tokens; ++t) offsets[t] = a.scales[t] * float(a.sums[t]);
  }
};

// y += the sums of one group, scaled, for 16 rows.
template <int Tokens>
UPDRAFT_INLINE inline void add_group(const QuantizedFormat& format, const uint8_t* header, int half,
                                     const float* token_scales, const TokenTerms<Tokens>& terms, const Ints* sums,
                                     bool first, float* y) {
  y += 16 * half;
  const Lanes scales = load_scales(header + 32 * half, format.scale_type);
  const auto scaled = [&](auto t) UPDRAFT_INLINE {
    return fma(sums[t].to_float(), scales * Lanes::broadcast(token_scales[t]),
               first ? Lanes::zero() : Lanes::load(y + t * 32));
  };
  if (format.offset == Offset::kNone) {
    unroll<Tokens>([&](auto t) UPDRAFT_INLINE { scaled(t).store(y + t * 32); });
    return;
  }
  Lanes offsets = load_scales(header + 64 + 32 * half, format.scale_type);
  if (format.offset == Offset::kPoint) offsets = Lanes::zero() - scales * offsets;
  unroll<Tokens>([&](auto t)
                     UPDRAFT_INLINE { fma(offsets, Lanes::broadcast(terms.offsets[t]), scaled(t)).store(y + t * 32); });
}

template <int Bits, int Group, int Tokens>
void multiply_tokens(const IntegerProduct p) {  // a copy, which no store through a pointer can change
  constexpr int kHalves = Tokens <= 2 ? 2 : Tokens <= kIntegerTokens ? kIntegerHalves : 1;
  const bool has_offsets = p.format.offset != Offset::kNone;
  const int32_t start = kCentre<Bits> - (has_offsets ? 0 : p.format.middle());
  for (int64_t g = 0; g < p.groups; ++g) {
    const uint8_t *header = p.header(g), *weights = p.group(g);
    const IntegerActivations a = p.a.at(g, 0);
    ask_ahead(header, p.near_bytes, p.far_bytes);
    p.ahead.ask_share(g, p.groups);
    const int64_t columns = g + 1 == p.groups ? p.last_columns : Group;
    const TokenTerms<Tokens> terms(a, start, has_offsets);
    for (int half = 0; half < 2; half += kHalves) {
      Ints sums[kHalves * Tokens];
      unroll<kHalves * Tokens>([&](auto i) UPDRAFT_INLINE { sums[i] = Ints::broadcast(terms.starts[i % Tokens]); });
      add_products<Bits, Group, kHalves, Tokens>(weights + half * 64, p.strides, columns, a.integers, p.near_bytes,
                                                 p.far_bytes, sums);
      unroll<kHalves>([&](auto h) UPDRAFT_INLINE {
        add_group<Tokens>(p.format, header, half + h, a.scales, terms, sums + h * Tokens, p.first && g == 0, p.y);
      });
    }
  }
}

template <int Bits, int Group, int Tokens = 1>
void multiply_as(const IntegerProduct& p) {
  if constexpr (Tokens < kStreamTokens) {
    if (p.tokens != Tokens) return multiply_as<Bits, Group, Tokens + 1>(p);
  }
  multiply_tokens<Bits, Group, Tokens>(p);
}

// Floor for one token: the panel read once from memory; for many: tokens x 32 x columns products, 64 of them an
// instruction. Measured with AVX-512 VNNI, one thread of a Granite Rapids class Xeon beside other load, 256 tokens,
// operands in L2, per cent of the VNNI peak: int8 77, int4 70, with offsets 74 and 66; groups of 32: 51 and 48. Few
// tokens from memory: prefetch_distance.h; 16 int8 tokens, two threads of Emerald Rapids: 24 GB/s, 57 % of the peak;
// 8 int4 tokens, one thread: from L2 18.3 GB/s (89 % of the peak), from memory 13.4, where a plain read takes 16.6.
// Guarded by tests/compute/integer_test.cc (== integer_generic()).
inline void multiply(const IntegerProduct& p) {
  switch (p.format.group) {
    case 128:
      return p.format.bits == 8 ? multiply_as<8, 128>(p) : multiply_as<4, 128>(p);
    case 64:
      return p.format.bits == 8 ? multiply_as<8, 64>(p) : multiply_as<4, 64>(p);
    default:
      return p.format.bits == 8 ? multiply_as<8, 32>(p) : multiply_as<4, 32>(p);
  }
}

constexpr IntegerKernels integer_table(const char* name) {
  return {.name = name,
          .stream_tokens = kStreamTokens,
          .tile_tokens = kIntegerTokens,
          .configure = nullptr,
          .release = nullptr,
          .quantize_row = quantize_row,
          .multiply = multiply};
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
