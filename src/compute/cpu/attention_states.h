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
// for evenly in time, since the memory works only while requests wait.
template <class T>
constexpr int kRowLines = sizeof(T) == 4 ? 4 : 2;

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

// What the outputs of two states are multiplied by before they are added: both are scaled to the larger maximum.
struct FoldFactors {
  float of_each[kLanes] = {};  // of the first state's pairs, from 8 on of the second's
  Lanes into(int64_t pair) const { return Lanes::broadcast(of_each[pair]); }
  Lanes part(int64_t pair) const { return Lanes::broadcast(of_each[8 + pair]); }
};

// Maxima and sums of into = into + part, at most 8 pairs; the outputs are left to do.
inline FoldFactors fold_sums(States into, const float* part_max, const float* part_sum, int64_t pairs) {
  FoldFactors factors;
  float* f = factors.of_each;
  for (int64_t p = 0; p < pairs; ++p) {
    const float largest = into.max[p] > part_max[p] ? into.max[p] : part_max[p];
    f[p] = into.max[p] - largest;
    f[8 + p] = part_max[p] - largest;
    into.max[p] = largest;
  }
  exp(Lanes::load(f)).store(f);
  for (int64_t p = 0; p < pairs; ++p) into.sum[p] = __builtin_fmaf(into.sum[p], f[p], part_sum[p] * f[8 + p]);
  return factors;
}

// into = into + part, at most 8 pairs.
inline void fold(States into, States part, int64_t pairs, int64_t padded_dim) {
  const FoldFactors factors = fold_sums(into, part.max, part.sum, pairs);
  for (int64_t p = 0; p < pairs; ++p) {
    float* out = into.out + p * kRowStride;
    const float* add = part.out + p * kRowStride;
    for (int64_t d = 0; d < padded_dim; d += kLanes)
      fma(Lanes::load(out + d), factors.into(p), Lanes::load(add + d) * factors.part(p)).store(out + d);
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

constexpr int kPageParts = int(kPageTokens) / kLanes;
static_assert(kPageParts == 4);

// What a pair does not see of its part [Pairs][kPageParts] becomes `hidden`. Unrolled, so that parts stay in registers.
template <int Pairs>
UPDRAFT_INLINE inline void hide_unseen(Lanes* part, const Range* seen, Lanes hidden) {
  unroll<Pairs>([&](auto p) UPDRAFT_INLINE {
    const Range range = seen[p];
    if (range.begin == 0 && range.end == kPageTokens) return;
    unroll<kPageParts>([&](auto i) UPDRAFT_INLINE {
      Lanes& lanes = part[p * kPageParts + i];
      lanes = between({range.begin - 16 * i, range.end - 16 * i}, lanes, hidden);
    });
  });
}

// Over the kPageParts parts of one pair.
UPDRAFT_INLINE inline Lanes largest_of(const Lanes* part) { return max(max(part[0], part[1]), max(part[2], part[3])); }
UPDRAFT_INLINE inline Lanes total_of(const Lanes* part) { return (part[0] + part[1]) + (part[2] + part[3]); }

// scores [Pairs][kPageParts] become exp(score - largest) where the pair sees the slot, elsewhere 0. All pairs go
// through each phase together: alone, each would wait for its own maximum, its exponentials, its sum.
template <int Pairs>
UPDRAFT_INLINE inline void softmax(Lanes* scores, const Range* seen, float* page_max, float* page_sum) {
  hide_unseen<Pairs>(scores, seen, Lanes::broadcast(-__builtin_inff()));
  unroll<Pairs>([&](auto p) UPDRAFT_INLINE { page_max[p] = max_lane(largest_of(scores + p * kPageParts)); });
  unroll<Pairs * kPageParts>(
      [&](auto i) UPDRAFT_INLINE { scores[i] = exp(scores[i] - Lanes::broadcast(page_max[i / kPageParts])); });
  unroll<Pairs>([&](auto p) UPDRAFT_INLINE { page_sum[p] = sum(total_of(scores + p * kPageParts)); });
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
