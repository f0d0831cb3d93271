// A tile of attention over K and V in int8 with one F32 scale per head row. Both products are sums of integers, exact
// and so the same whatever adds them: q enters as 16-bit integers with one scale per head (an error of amax / 65534 an
// element, far below K's own), the softmax's weights, times V's scales, as 15-bit integers with one scale per page.
// Slots a pair may not see get weight 0, which is exact here: integers have no NaN. A head row with an infinity or a
// NaN has the scale NaN, so that what it touches shows it.
//
// For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/attention_states.h"
#include "compute/cpu/pair_lanes.h"

namespace updraft::compute::cpu::UPDRAFT_ISA::attention {

constexpr float kWholeRange = 32767;  // of queries and weights: 256 dims x 127 x 32767 < 2^31

struct Quantizer {
  float inverse;  // x * inverse, rounded, is stored
  float scale;    // stored * scale is meant
};

// For values whose largest magnitude becomes `range`. Too small for a normal scale (under 2^-100): all zero. `largest`
// must be the caller's maximum and `check` NaN where any value is not finite, else 0.
inline Quantizer quantizer(float largest, float check, float range) {
  if (check != 0 || check != check) return {0, __builtin_nanf("")};
  if (!(largest >= 0x1p-100f)) return {0, 0};
  return {range / largest, largest / range};
}

// Of a head row x [count].
inline Quantizer quantizer_of_row(const float* x, int64_t count, float range) {
  Lanes largest = Lanes::zero(), check = Lanes::zero();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes part = Lanes::load_first(x + i, int(count - i < kLanes ? count - i : kLanes));
    largest = max(largest, max(part, Lanes::zero() - part));
    check = check + part * Lanes::zero();
  }
  return quantizer(max_lane(largest), sum(check), range);
}

// out[i] = x[i] * inverse, to the nearest whole number; zeros up to a multiple of 16. Returns the scale.
inline float quantize_row(const float* x, int64_t count, float range, int16_t* out) {
  const Quantizer q = quantizer_of_row(x, count, range);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes part = Lanes::load_first(x + i, int(count - i < kLanes ? count - i : kLanes));
    // A row that cannot be told is stored as zeros: infinity times 0 has no nearest whole number.
    store_whole(q.inverse == 0 ? Lanes::zero() : part * Lanes::broadcast(q.inverse), out + i);
  }
  return q.scale;
}

// What lies between a block's K and its V.
inline float* scales_of(char* block, int64_t head_dim) {
  return reinterpret_cast<float*>(block + head_dim * kPageTokens);
}

inline void store_key_int8(const float* k, int64_t head_dim, char* block, int64_t slot) {
  int16_t whole[kMaxHeadDim];
  scales_of(block, head_dim)[slot] = quantize_row(k, head_dim, 127, whole);
  int8_t* keys = reinterpret_cast<int8_t*>(block) + 2 * slot;
  for (int64_t d = 0; d < head_dim; d += 2, keys += 2 * kPageTokens)
    keys[0] = int8_t(whole[d]), keys[1] = int8_t(whole[d + 1]);
}

inline void store_value_int8(const float* v, int64_t head_dim, char* block, int64_t slot) {
  int16_t whole[kMaxHeadDim];
  float* scales = scales_of(block, head_dim) + kPageTokens;
  scales[slot] = quantize_row(v, head_dim, 127, whole);
  int8_t* values = reinterpret_cast<int8_t*>(scales + kPageTokens);
  const int64_t padded_dim = kv_padded_dim(head_dim);
  for (int64_t chunk = 0; chunk < padded_dim; chunk += kValueChunk) {
    const int64_t dims = padded_dim - chunk < kValueChunk ? padded_dim - chunk : kValueChunk;
    int8_t* to = values + chunk * kPageTokens + slot / 2 * 2 * dims + slot % 2;
    for (int64_t d = 0; d < dims; ++d) to[2 * d] = int8_t(whole[chunk + d]);
  }
}

// c[p][n] = sum over k < count of a[p][2k] b[k][n][0] + a[p][2k + 1] b[k][n][1]; n < 16 Width. Rows of a are
// kWholeStride apart, of c kRowStride.
template <int Pairs, int Width, bool Ahead>
UPDRAFT_INLINE inline void sum_products(const int16_t* a, const int8_t* b, int64_t b_stride, int64_t count, float* c,
                                        const char* ahead) {
  IntLanes sums[Pairs * Width];
  unroll<Pairs * Width>([&](auto i) UPDRAFT_INLINE { sums[i] = IntLanes::zero(); });
  for (int64_t k = 0; k < count; ++k) {
    PairLanes row[Width];
    unroll<Width>([&](auto w) UPDRAFT_INLINE { row[w] = PairLanes::load(b + 32 * w); });
    if constexpr (Ahead) {
      ask_beside_row<int8_t>(ahead);
      bring_near<32 * Width>(b);
    }
    unroll<Pairs>([&](auto p) UPDRAFT_INLINE {
      const PairLanes factor = PairLanes::broadcast(a + p * kWholeStride + 2 * k);
      unroll<Width>([&](auto w)
                        UPDRAFT_INLINE { sums[p * Width + w] = add_products(factor, row[w], sums[p * Width + w]); });
    });
    b += b_stride;
  }
  unroll<Pairs * Width>(
      [&](auto i) UPDRAFT_INLINE { sums[i].to_float().store(c + i / Width * kRowStride + 16 * (i % Width)); });
}

// The same for any number of lanes.
template <int Pairs, int Width, bool Ahead>
UPDRAFT_INLINE inline void sums_of_products(const int16_t* a, const int8_t* b, int64_t b_stride, int64_t count,
                                            int64_t lanes, float* c, const char* ahead) {
  if (lanes >= Width) {
    sum_products<Pairs, Width, Ahead>(a, b, b_stride, count, c, ahead);
    for (b += 32 * Width, c += 16 * Width, lanes -= Width; lanes >= Width;
         lanes -= Width, b += 32 * Width, c += 16 * Width)
      sum_products<Pairs, Width, false>(a, b, b_stride, count, c, nullptr);
  }
  if constexpr (Width > 1) {
    if (lanes > 0) sums_of_products<Pairs, Width / 2, false>(a, b, b_stride, count, lanes, c, nullptr);
  }
}

// part [kPageTokens] = row * scales, and 0 where not seen.
UPDRAFT_INLINE inline void scale_slots(const float* row, const float* scales, Range seen, Lanes* part) {
  unroll<kPageTokens / kLanes>(
      [&](auto i) UPDRAFT_INLINE { part[i] = Lanes::load(row + 16 * i) * Lanes::load(scales + 16 * i); });
  if (seen.begin == 0 && seen.end == kPageTokens) return;
  for (int i = 0; i < int(kPageTokens) / kLanes; ++i)
    part[i] = between({seen.begin - 16 * i, seen.end - 16 * i}, part[i], Lanes::zero());
}

// exp(score - largest) [kPageTokens] of one pair, times V's scales, as 16-bit integers. Returns their scale.
UPDRAFT_INLINE inline float quantize_weights(const float* weights, const float* scales, Range seen, int16_t* whole) {
  constexpr int kParts = int(kPageTokens) / kLanes;
  static_assert(kParts == 4);
  Lanes part[kParts];
  scale_slots(weights, scales, seen, part);
  const Lanes largest = max(max(part[0], part[1]), max(part[2], part[3]));
  const Lanes total = (part[0] + part[1]) + (part[2] + part[3]);
  const Quantizer q = quantizer(max_lane(largest), sum(total * Lanes::zero()), kWholeRange);
  unroll<kParts>([&](auto i) UPDRAFT_INLINE {
    store_whole(q.inverse == 0 ? Lanes::zero() : part[i] * Lanes::broadcast(q.inverse), whole + 16 * i);
  });
  return q.scale;
}

template <int Pairs, bool Ahead>
void tile_int8(const AttendTask& task, const Page<int8_t>& page, int64_t pair, const Scratch& scratch) {
  const int64_t in_block = pair - task.pair_begin;
  float page_max[Pairs], page_sum[Pairs], weight_scale[Pairs];
  sums_of_products<Pairs, tile_width(Pairs), Ahead>(scratch.whole_queries + in_block * kWholeStride, page.keys,
                                                    2 * kPageTokens, task.head_dim / 2, kPageTokens / kLanes,
                                                    scratch.scores, page.next);
  const int64_t key_lines = task.head_dim / 2 * kRowLines<int8_t>,
                value_lines = task.padded_dim / 2 * kRowLines<int8_t>;
  const int64_t block_lines = (task.blocks->value_bytes + task.padded_dim * kPageTokens) / 64;
  const int64_t softmax_lines = (block_lines - key_lines - value_lines + Pairs - 1) / Pairs;
  const char* ahead = page.next + key_lines * 64;
  for (int p = 0; p < Pairs; ++p) {
    float* scores = scratch.scores + p * kRowStride;
    const Range seen = seen_slots(task, pair + p, page.start);
    if constexpr (Ahead) {
      for (int64_t i = 0; i < softmax_lines; ++i, ahead += 64) ask(ahead);
    }
    unroll<kPageTokens / kLanes>([&](auto i) UPDRAFT_INLINE {
      (Lanes::load(scores + 16 * i) * Lanes::load(page.scales + 16 * i)).store(scores + 16 * i);
    });
    softmax(scores, seen.begin, seen.end, task.scale * scratch.query_scale[in_block + p], page_max + p, page_sum + p);
    weight_scale[p] =
        quantize_weights(scores, page.scales + kPageTokens, seen, scratch.whole_weights + p * kWholeStride);
  }
  for (int64_t d = 0; d < task.padded_dim; d += kValueChunk) {
    const bool last = d + kValueChunk >= task.padded_dim;
    const int64_t dims = last ? task.padded_dim - d : kValueChunk;
    sums_of_products<Pairs, tile_width(Pairs), Ahead>(scratch.whole_weights, page.values + d * kPageTokens, 2 * dims,
                                                      kPageTokens / 2, dims / kLanes, scratch.page_out + d,
                                                      ahead + d / 2 * kRowLines<int8_t> * 64);
  }
  for (int p = 0; p < Pairs; ++p)
    for (int64_t d = 0; d < task.padded_dim; d += kLanes) {
      float* out = scratch.page_out + p * kRowStride + d;
      (Lanes::load(out) * Lanes::broadcast(weight_scale[p])).store(out);
    }
  fold(scratch.span.from(in_block), {page_max, page_sum, scratch.page_out}, Pairs, task.padded_dim);
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA::attention
