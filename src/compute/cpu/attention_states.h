// What the tiles of attention share, whatever type K and V have: a pair's state (largest score, sum of exponentials,
// output), how two states fold into one, the softmax of one page, a thread's scratch.
//
// For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/attention_kernels.h"
#include "compute/cpu/kv_cache.h"
#include "compute/cpu/lanes.h"
#include "compute/cpu/prefetch_distance.h"
#include "compute/cpu/unroll.h"
#include "compute/cpu/vector_math.h"

namespace updraft::compute::cpu::UPDRAFT_ISA::attention {

// Registers decide the tile: pairs x width accumulators, `width` of K or V, one broadcast. Shape never changes a bit.
constexpr int kTilePairs = 6;
#if defined(__AVX512F__)
constexpr int tile_width(int) { return 4; }
#elif defined(__AVX2__)
constexpr int tile_width(int pairs) { return pairs == 1 ? 4 : pairs <= 3 ? 2 : 1; }
#else
constexpr int tile_width(int pairs) { return pairs == 1 ? 4 : pairs <= 3 ? 2 : 1; }
#endif
constexpr int64_t kConvertPairs = 12;  // from more pairs than this on, an F16 page is widened once for all of them

// Asks for a cache line, into the second level: what waits in the first level's few fill buffers holds up everything.
UPDRAFT_INLINE inline void ask(const char* p) { __builtin_prefetch(p, 0, 2); }

// Lines asked for beside each row of K or V in use (a row has 16 lanes x tile width): the next block's lines are asked
// for evenly in time, since the memory works only while requests wait. Int8 rows take little time, so a block's other
// lines are asked for during its softmax.
template <class T>
constexpr int kRowLines = sizeof(T) == 4   ? 4
                          : sizeof(T) == 2 ? 2
                                           : 1;

template <class T>
UPDRAFT_INLINE inline void ask_beside_row(const char*& p) {
  unroll<kRowLines<T>>([&](auto n) UPDRAFT_INLINE { ask(p + 64 * n); });
  p += 64 * kRowLines<T>;
}

// Asks for the row of `Bytes` bytes that is read kNearBytes after the one at p, into the first level.
template <int Bytes>
UPDRAFT_INLINE inline void bring_near(const void* p) {
  unroll<(Bytes + 63) / 64>(
      [&](auto n) UPDRAFT_INLINE { __builtin_prefetch(static_cast<const char*>(p) + kNearBytes + 64 * n, 0, 3); });
}

// Calls f(Index<pairs>) for a number of pairs known only at run time.
template <int Pairs = 1, class F>
UPDRAFT_INLINE inline void with_pairs(int64_t pairs, F&& f) {
  if constexpr (Pairs < kTilePairs) {
    if (pairs != Pairs) return with_pairs<Pairs + 1>(pairs, f);
  }
  f(Index<Pairs>());
}

// (largest score, sum of exp(score - largest), output) of some pairs; outputs are kRowStride apart.
struct States {
  float* max;
  float* sum;
  float* out;

  States from(int64_t pair) const { return {max + pair, sum + pair, out + pair * kRowStride}; }
};

inline void clear(States states, int64_t pairs, int64_t padded_dim) {
  for (int64_t p = 0; p < pairs; ++p) {
    states.max[p] = -__builtin_inff();
    states.sum[p] = 0;
    for (int64_t d = 0; d < padded_dim; d += kLanes) Lanes::zero().store(states.out + p * kRowStride + d);
  }
}

// into = into + part, at most 8 pairs; both scaled to the larger of the two maxima.
inline void fold(States into, States part, int64_t pairs, int64_t padded_dim) {
  float factor[kLanes] = {};
  for (int64_t p = 0; p < pairs; ++p) {
    const float largest = into.max[p] > part.max[p] ? into.max[p] : part.max[p];
    factor[p] = into.max[p] - largest;
    factor[8 + p] = part.max[p] - largest;
    into.max[p] = largest;
  }
  exp(Lanes::load(factor)).store(factor);
  for (int64_t p = 0; p < pairs; ++p) {
    const Lanes old_factor = Lanes::broadcast(factor[p]), new_factor = Lanes::broadcast(factor[8 + p]);
    into.sum[p] = __builtin_fmaf(into.sum[p], factor[p], part.sum[p] * factor[8 + p]);
    float* out = into.out + p * kRowStride;
    const float* add = part.out + p * kRowStride;
    for (int64_t d = 0; d < padded_dim; d += kLanes)
      fma(Lanes::load(out + d), old_factor, Lanes::load(add + d) * new_factor).store(out + d);
  }
}

struct Range {
  int64_t begin, end;
};

// Lane i of x where i is in the range, else of y.
inline Lanes between(Range range, Lanes x, Lanes y) {
  const int64_t first = range.begin, last = range.end;
  const Lanes upto = Lanes::first_else(int(last < 0 ? 0 : last > 16 ? 16 : last), x, y);
  return Lanes::first_else(int(first < 0 ? 0 : first > 16 ? 16 : first), y, upto);
}

// scores [kPageTokens] of one pair become exp(scale score - largest) where seen: keys [begin, end); elsewhere 0.
UPDRAFT_INLINE inline void softmax(float* scores, int64_t begin, int64_t end, float scale, float* page_max,
                                   float* page_sum) {
  constexpr int kParts = int(kPageTokens) / kLanes;
  Lanes part[kParts];
  unroll<kParts>([&](auto i) UPDRAFT_INLINE { part[i] = Lanes::load(scores + 16 * i) * Lanes::broadcast(scale); });
  if (begin > 0 || end < kPageTokens) {
    const Lanes hidden = Lanes::broadcast(-__builtin_inff());
    for (int i = 0; i < kParts; ++i) part[i] = between({begin - 16 * i, end - 16 * i}, part[i], hidden);
  }
  const float largest = max_lane(max(max(part[0], part[1]), max(part[2], part[3])));
  unroll<kParts>([&](auto i) UPDRAFT_INLINE {
    part[i] = exp(part[i] - Lanes::broadcast(largest));
    part[i].store(scores + 16 * i);
  });
  *page_max = largest;
  *page_sum = sum((part[0] + part[1]) + (part[2] + part[3]));
}

// One thread's scratch: the queries and states of up to kBlockPairs pairs, one widened page, one tile.
struct Scratch {
  float* queries;   // [kBlockPairs, kRowStride]
  States span;      // [kBlockPairs]
  States result;    // [kBlockPairs]
  float* page;      // [kPageTokens, 2, kMaxHeadDim], widened from F16
  float* scores;    // [kTilePairs, kRowStride]
  float* page_out;  // [kTilePairs, kRowStride]
  // With int8 K and V, in place of queries and page:
  int16_t* whole_queries;  // [kBlockPairs, kWholeStride]
  int16_t* whole_weights;  // [kTilePairs, kWholeStride]
  float* query_scale;      // [kBlockPairs]

  explicit Scratch(float* p) {
    constexpr int64_t kRows = kBlockPairs * kRowStride;
    queries = p;
    span.out = p + kRows;
    result.out = p + 2 * kRows;
    scores = p + 3 * kRows;
    page_out = scores + 8 * kRowStride;
    page = page_out + 8 * kRowStride;
    span.max = page + 2 * kPageTokens * kMaxHeadDim;
    span.sum = span.max + kBlockPairs;
    result.max = span.sum + kBlockPairs;
    result.sum = result.max + kBlockPairs;
    query_scale = result.sum + kBlockPairs;
    whole_queries = reinterpret_cast<int16_t*>(queries);
    whole_weights = reinterpret_cast<int16_t*>(page);
  }
};

// One page of K and V as one type.
template <class T>
struct Page {
  const T* keys;        // [head_dim, kPageTokens]; int8: [head_dim / 2, kPageTokens, 2]
  const T* values;      // [chunk of kValueChunk dims][kPageTokens, dims]; int8: [chunk][kPageTokens / 2, dims, 2]
  const float* scales;  // int8: of keys, then of values, [2, kPageTokens]
  int64_t start;        // position of slot 0
  const char* next;     // the block that is read after it, asked for while this one is read
};

// Slots of the page that a pair sees; not empty for the pairs that walk it.
inline Range seen_slots(const AttendTask& task, int64_t pair, int64_t page_start) {
  const int64_t position = task.first_position + pair / task.group;
  const int64_t first = task.window > 0 ? position - task.window + 1 - page_start : 0;
  const int64_t end = position + 1 - page_start;
  return {first > 0 ? first : 0, end < kPageTokens ? end : kPageTokens};
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA::attention
