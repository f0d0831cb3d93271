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

// For values whose largest magnitude, `largest` if all are finite, becomes `range`. Too small for a normal scale (under
// 2^-100): all zero.
inline Quantizer quantizer(float largest, bool finite, float range) {
  if (!finite) return {0, __builtin_nanf("")};
  if (!(largest >= 0x1p-100f)) return {0, 0};
  return {range / largest, largest / range};
}

// Of a head row x [count].
inline Quantizer quantizer_of_row(const float* x, int64_t count, float range) {
  Lanes largest = Lanes::zero(), zeros = Lanes::zero();  // of finite values; else NaN
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes part = Lanes::load_first(x + i, int(count - i < kLanes ? count - i : kLanes));
    largest = max(largest, max(part, Lanes::zero() - part));
    zeros = zeros + part * Lanes::zero();
  }
  return quantizer(max_lane(largest), all_finite(zeros), range);
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

// take(p, i, sums of pair p and lanes i): sum over k < count of a[p][2k] b[k][n][0] + a[p][2k + 1] b[k][n][1] for the
// sixteen n of lanes i < Width, from `first` on. Rows of a are kWholeStride apart.
template <int Pairs, int Width, bool Ahead, class Take>
UPDRAFT_INLINE inline void sum_products(const int16_t* a, const int8_t* b, int64_t b_stride, int64_t count, int first,
                                        const char* ahead, Take&& take) {
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
  unroll<Pairs * Width>([&](auto i) UPDRAFT_INLINE { take(i / Width, first + i % Width, sums[i].to_float()); });
}

// The same for any number of lanes.
template <int Pairs, int Width, bool Ahead, class Take>
UPDRAFT_INLINE inline void sums_of_products(const int16_t* a, const int8_t* b, int64_t b_stride, int64_t count,
                                            int first, int lanes, const char* ahead, Take&& take) {
  if (first + Width <= lanes) {
    sum_products<Pairs, Width, Ahead>(a, b + 32 * first, b_stride, count, first, ahead, take);
    for (first += Width; first + Width <= lanes; first += Width)
      sum_products<Pairs, Width, false>(a, b + 32 * first, b_stride, count, first, nullptr, take);
  }
  if constexpr (Width > 1) {
    if (first < lanes) sums_of_products<Pairs, Width / 2, false>(a, b, b_stride, count, first, lanes, nullptr, take);
  }
}

// What the products of whole numbers with K are still to be multiplied by: K's scales a slot, the query's a pair.
struct ScoreScales {
  const float* slots;  // [kPageTokens]
  float pairs[kTilePairs];
};

// The softmax's weights times V's scales, as 16-bit integers.
struct WholeWeights {
  int16_t* whole;           // rows kWholeStride apart
  float scale[kTilePairs];  // whole * scale is meant
};

// scores [Pairs][kPageTokens], kRowStride apart, become weights.
template <int Pairs>
void whole_softmax(const float* scores, const ScoreScales& scales, const float* value_scales, const Range* seen,
                   float* page_max, float* page_sum, WholeWeights& weights) {
  Lanes part[Pairs * kPageParts];
  unroll<Pairs * kPageParts>([&](auto i) UPDRAFT_INLINE {
    const Lanes score = Lanes::load(scores + i / kPageParts * kRowStride + 16 * (i % kPageParts));
    part[i] =
        score * Lanes::load(scales.slots + 16 * (i % kPageParts)) * Lanes::broadcast(scales.pairs[i / kPageParts]);
  });
  softmax<Pairs>(part, seen, page_max, page_sum);
  unroll<Pairs * kPageParts>(
      [&](auto i) UPDRAFT_INLINE { part[i] = part[i] * Lanes::load(value_scales + 16 * (i % kPageParts)); });
  hide_unseen<Pairs>(part, seen, Lanes::zero());  // a slot that nobody wrote may have any scale
  unroll<Pairs>([&](auto p) UPDRAFT_INLINE {
    const Lanes* row = part + p * kPageParts;
    const Quantizer q = quantizer(max_lane(largest_of(row)), all_finite(total_of(row)), kWholeRange);
    weights.scale[p] = q.scale;  // NaN: it matters no more what the integers are
    unroll<kPageParts>([&](auto i) UPDRAFT_INLINE {
      store_whole(row[i] * Lanes::broadcast(q.inverse), weights.whole + p * kWholeStride + 16 * i);
    });
  });
}

template <int Pairs, bool Ahead>
void tile_int8(const AttendTask& task, const Page<int8_t>& page, int64_t pair, const Scratch& scratch) {
  const int64_t in_block = pair - task.pair_begin;
  const States span = scratch.span.from(in_block);
  Range seen[Pairs];
  ScoreScales scales = {page.scales, {}};
  for (int p = 0; p < Pairs; ++p) {
    seen[p] = seen_slots(task, pair + p, page.start);
    scales.pairs[p] = task.scale * scratch.query_scale[in_block + p];
  }
  const char* ahead = page.next;
  sums_of_products<Pairs, tile_width(Pairs), Ahead>(
      scratch.whole_queries + in_block * kWholeStride, page.keys, 2 * kPageTokens, task.head_dim / 2, 0, kPageParts,
      ahead,
      [&](int p, int i, Lanes sums) UPDRAFT_INLINE { sums.store(scratch.scores + p * kRowStride + kLanes * i); });
  ahead += task.head_dim / 2 * kRowLines<int8_t> * 64;
  if constexpr (Ahead) {
    for (int64_t line = 0; line < 2 * kPageTokens * int64_t(sizeof(float)) / 64; ++line, ahead += 64) ask(ahead);
  }
  WholeWeights weights = {scratch.whole_weights, {}};
  float page_max[Pairs], page_sum[Pairs];
  whole_softmax<Pairs>(scratch.scores, scales, page.scales + kPageTokens, seen, page_max, page_sum, weights);
  const FoldFactors factors = fold_sums(span, page_max, page_sum, Pairs);
  for (int64_t d = 0; d < task.padded_dim; d += kValueChunk) {
    const int64_t dims = d + kValueChunk < task.padded_dim ? kValueChunk : task.padded_dim - d;
    sums_of_products<Pairs, tile_width(Pairs), Ahead>(
        weights.whole, page.values + d * kPageTokens, 2 * dims, kPageTokens / 2, 0, int(dims / kLanes),
        ahead + d / 2 * kRowLines<int8_t> * 64, [&](int p, int i, Lanes sums) UPDRAFT_INLINE {
          float* out = span.out + p * kRowStride + d + kLanes * i;
          const Lanes part = sums * Lanes::broadcast(weights.scale[p]);
          fma(Lanes::load(out), factors.into(p), part * factors.part(p)).store(out);
        });
  }
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA::attention
