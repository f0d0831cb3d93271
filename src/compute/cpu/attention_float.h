// A tile of attention over K and V in floating point (F16 or F32): scores are one chain of multiply-adds over the
// dimensions per key, a page's output one chain over its keys. Keys a pair may not see are left out, never multiplied
// by zero: a slot that nobody wrote may hold anything.
//
// For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/attention_states.h"

namespace updraft::compute::cpu::UPDRAFT_ISA::attention {

// c[p][n] = (first ? 0 : c[p][n]) + sum over k < count of a[p][k] b[k][n], one chain; n < 16 Width. Rows of a and c are
// kRowStride floats apart. Ahead: asks for the memory from `ahead` on.
template <class T, int Pairs, int Width, bool Ahead>
UPDRAFT_INLINE inline void chain(const float* a, const T* b, int64_t b_stride, int64_t count, bool first, float* c,
                                 const char* ahead) {
  Lanes sums[Pairs * Width];
  unroll<Pairs * Width>([&](auto i) UPDRAFT_INLINE {
    sums[i] = first ? Lanes::zero() : Lanes::load(c + i / Width * kRowStride + 16 * (i % Width));
  });
  for (int64_t k = 0; k < count; ++k) {
    Lanes row[Width];
    unroll<Width>([&](auto w) UPDRAFT_INLINE { row[w] = Lanes::load(b + 16 * w); });
    if constexpr (Ahead) {
      ask_beside_row<T>(ahead);
      bring_near<int(16 * Width * sizeof(T))>(b);
    }
    unroll<Pairs>([&](auto p) UPDRAFT_INLINE {
      const Lanes factor = Lanes::broadcast(a[p * kRowStride + k]);
      unroll<Width>([&](auto w) UPDRAFT_INLINE { sums[p * Width + w] = fma(factor, row[w], sums[p * Width + w]); });
    });
    b += b_stride;
  }
  unroll<Pairs * Width>([&](auto i) UPDRAFT_INLINE { sums[i].store(c + i / Width * kRowStride + 16 * (i % Width)); });
}

// The same for any number of lanes; Width is cut down for what is left.
template <class T, int Pairs, int Width, bool Ahead>
UPDRAFT_INLINE inline void chains(const float* a, const T* b, int64_t b_stride, int64_t count, int64_t lanes,
                                  bool first, float* c, const char* ahead) {
  if (lanes >= Width) {
    chain<T, Pairs, Width, Ahead>(a, b, b_stride, count, first, c, ahead);
    for (b += 16 * Width, c += 16 * Width, lanes -= Width; lanes >= Width;
         lanes -= Width, b += 16 * Width, c += 16 * Width)
      chain<T, Pairs, Width, false>(a, b, b_stride, count, first, c, nullptr);
  }
  if constexpr (Width > 1) {
    if (lanes > 0) chains<T, Pairs, Width / 2, false>(a, b, b_stride, count, lanes, first, c, nullptr);
  }
}

// The part of V that holds dims [begin, begin + 16 lanes): [kPageTokens, 16 lanes].
template <class T>
struct ValueChunk {
  const T* values;
  int64_t lanes;
  const char* ahead;
};

// out[p] = sum over the slots pair p sees of weight[p][slot] V[slot], in the order of the slots. All pairs together
// where all of them see, one by one before and after (the diagonal, the window's edge).
template <class T, int Pairs, bool Ahead>
UPDRAFT_INLINE inline void weigh_values(const ValueChunk<T>& chunk, const Range* seen, const float* weights,
                                        float* out) {
  const int64_t stride = chunk.lanes * kLanes;
  Range common = seen[0];
  bool ragged_begin = false;
  for (int p = 1; p < Pairs; ++p) {
    ragged_begin = ragged_begin || seen[p].begin != seen[0].begin;
    common.begin = seen[p].begin > common.begin ? seen[p].begin : common.begin;
    common.end = seen[p].end < common.end ? seen[p].end : common.end;
  }
  if (common.begin >= common.end) common = {kPageTokens, kPageTokens}, ragged_begin = true;
  const auto alone = [&](int p, int64_t begin, int64_t end) {
    if (begin < end)
      chains<T, 1, tile_width(1), false>(weights + p * kRowStride + begin, chunk.values + begin * stride, stride,
                                         end - begin, chunk.lanes, false, out + p * kRowStride, nullptr);
  };
  if (ragged_begin) {
    for (int p = 0; p < Pairs; ++p) {
      for (int64_t d = 0; d < stride; d += kLanes) Lanes::zero().store(out + p * kRowStride + d);
      alone(p, seen[p].begin, seen[p].end < common.begin ? seen[p].end : common.begin);
    }
  }
  chains<T, Pairs, tile_width(Pairs), Ahead>(weights + common.begin, chunk.values + common.begin * stride, stride,
                                             common.end - common.begin, chunk.lanes, !ragged_begin, out, chunk.ahead);
  for (int p = 0; p < Pairs; ++p) alone(p, common.end, seen[p].end);
}

// scores [Pairs][kPageTokens], kRowStride apart, times scale become the softmax's weights.
template <int Pairs>
void softmax_rows(float* scores, float scale, const Range* seen, float* page_max, float* page_sum) {
  Lanes part[Pairs * kPageParts];
  const auto at = [&](int i) { return scores + i / kPageParts * kRowStride + 16 * (i % kPageParts); };
  unroll<Pairs * kPageParts>([&](auto i) UPDRAFT_INLINE { part[i] = Lanes::load(at(i)) * Lanes::broadcast(scale); });
  softmax<Pairs>(part, seen, page_max, page_sum);
  unroll<Pairs * kPageParts>([&](auto i) UPDRAFT_INLINE { part[i].store(at(i)); });
}

// Pairs [pair, pair + Pairs) of the task, the first of the block being pair_begin, take one page into their span's
// state.
template <class T, int Pairs, bool Ahead>
void tile(const AttendTask& task, const Page<T>& page, int64_t pair, const Scratch& scratch) {
  const int64_t in_block = pair - task.pair_begin;
  Range seen[Pairs];
  float page_max[Pairs], page_sum[Pairs];
  chains<T, Pairs, tile_width(Pairs), Ahead>(scratch.queries + in_block * kRowStride, page.keys, kPageTokens,
                                             task.head_dim, kPageTokens / kLanes, true, scratch.scores, page.next);
  for (int p = 0; p < Pairs; ++p) seen[p] = seen_slots(task, pair + p, page.start);
  softmax_rows<Pairs>(scratch.scores, task.scale, seen, page_max, page_sum);
  for (int64_t d = 0; d < task.padded_dim; d += kValueChunk) {
    const bool last = d + kValueChunk >= task.padded_dim;
    const char* ahead = page.next + (task.head_dim + d) * kPageTokens * int64_t(sizeof(T));
    weigh_values<T, Pairs, Ahead>(
        {page.values + d * kPageTokens, (last ? task.padded_dim - d : kValueChunk) / kLanes, ahead}, seen,
        scratch.scores, scratch.page_out + d);
  }
  fold(scratch.span.from(in_block), {page_max, page_sum, scratch.page_out}, Pairs, task.padded_dim);
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA::attention
