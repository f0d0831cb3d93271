// Attention over the paged cache, written once in Lanes. A pair's result is one fixed sequence of operations, whatever
// pairs share its tile: scores are one chain of multiply-adds over the dimensions per key; a page gives (largest score,
// sum of exponentials, output chained over its keys); pages are folded in order into a span of kSpanPages, spans in
// order into the result. Keys a pair may not see are left out, never multiplied by zero. Guarded by
// tests/compute/attention_test.cc against double precision, and with == across tiles, threads and instruction sets.
//
// For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/attention_kernels.h"
#include "compute/cpu/kv_cache.h"
#include "compute/cpu/lanes.h"
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

// c[p][n] = (first ? 0 : c[p][n]) + sum over k < count of a[p][k] b[k][n], one chain; n < 16 Width. Rows of a and c are
// kRowStride floats apart. Ahead: asks for the lines `ahead` bytes past those of b.
template <class T, int Pairs, int Width, bool Ahead>
UPDRAFT_INLINE inline void chain(const float* a, const T* b, int64_t b_stride, int64_t count, bool first, float* c,
                                 int64_t ahead) {
  Lanes sums[Pairs * Width];
  unroll<Pairs * Width>([&](auto i) UPDRAFT_INLINE {
    sums[i] = first ? Lanes::zero() : Lanes::load(c + i / Width * kRowStride + 16 * (i % Width));
  });
  for (int64_t k = 0; k < count; ++k) {
    Lanes row[Width];
    unroll<Width>([&](auto w) UPDRAFT_INLINE {
      row[w] = Lanes::load(b + 16 * w);
      if constexpr (Ahead && (sizeof(T) == 4 || w % 2 == 0)) ask(reinterpret_cast<const char*>(b + 16 * w) + ahead);
    });
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
                                  bool first, float* c, int64_t ahead) {
  for (; lanes >= Width; lanes -= Width, b += 16 * Width, c += 16 * Width)
    chain<T, Pairs, Width, Ahead>(a, b, b_stride, count, first, c, ahead);
  if constexpr (Width > 1) {
    if (lanes > 0) chains<T, Pairs, Width / 2, Ahead>(a, b, b_stride, count, lanes, first, c, ahead);
  }
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

// scores [kPageTokens] of one pair become exp(scale score - largest) where seen: keys [begin, end); elsewhere 0.
UPDRAFT_INLINE inline void softmax(float* scores, int64_t begin, int64_t end, float scale, float* page_max,
                                   float* page_sum) {
  constexpr int kParts = int(kPageTokens) / kLanes;
  Lanes part[kParts];
  unroll<kParts>([&](auto i) UPDRAFT_INLINE { part[i] = Lanes::load(scores + 16 * i) * Lanes::broadcast(scale); });
  if (begin > 0 || end < kPageTokens) {
    const Lanes hidden = Lanes::broadcast(-__builtin_inff());
    for (int i = 0; i < kParts; ++i) {
      const int64_t last = end - 16 * i, first = begin - 16 * i;
      part[i] = Lanes::first_else(int(last < 0 ? 0 : last > 16 ? 16 : last), part[i], hidden);
      part[i] = Lanes::first_else(int(first < 0 ? 0 : first > 16 ? 16 : first), hidden, part[i]);
    }
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
  float* page;      // [kPageTokens, 2, kMaxHeadDim]
  float* scores;    // [kTilePairs, kRowStride]
  float* page_out;  // [kTilePairs, kRowStride]

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
  }
};

// One page of K and V as one type, and how far ahead of them the bytes lie that are wanted next.
template <class T>
struct Page {
  const T* keys;       // [head_dim, kPageTokens]
  const T* values;     // [chunk of kValueChunk dims][kPageTokens, dims of the chunk]
  int64_t start;       // position of slot 0
  int64_t ahead;       // from a byte in use to the one to ask for,
  int64_t ahead_last;  // and in the last chunk of V
};

struct Range {
  int64_t begin, end;
};

// Slots of the page that a pair sees; not empty for the pairs that walk it.
inline Range seen_slots(const AttendTask& task, int64_t pair, int64_t page_start) {
  const int64_t position = task.first_position + pair / task.group;
  const int64_t first = task.window > 0 ? position - task.window + 1 - page_start : 0;
  const int64_t end = position + 1 - page_start;
  return {first > 0 ? first : 0, end < kPageTokens ? end : kPageTokens};
}

// The part of V that holds dims [begin, begin + 16 lanes): [kPageTokens, 16 lanes].
template <class T>
struct ValueChunk {
  const T* values;
  int64_t lanes;
  int64_t ahead;
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
                                         end - begin, chunk.lanes, false, out + p * kRowStride, 0);
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

// Pairs [pair, pair + Pairs) of the task, the first of the block being pair_begin, take one page into their span's
// state.
template <class T, int Pairs, bool Ahead>
void tile(const AttendTask& task, const Page<T>& page, int64_t pair, const Scratch& scratch) {
  const int64_t in_block = pair - task.pair_begin;
  Range seen[Pairs];
  float page_max[Pairs], page_sum[Pairs];
  chains<T, Pairs, tile_width(Pairs), Ahead>(scratch.queries + in_block * kRowStride, page.keys, kPageTokens,
                                             task.head_dim, kPageTokens / kLanes, true, scratch.scores, page.ahead);
  for (int p = 0; p < Pairs; ++p) {
    seen[p] = seen_slots(task, pair + p, page.start);
    softmax(scratch.scores + p * kRowStride, seen[p].begin, seen[p].end, task.scale, page_max + p, page_sum + p);
  }
  for (int64_t d = 0; d < task.padded_dim; d += kValueChunk) {
    const bool last = d + kValueChunk >= task.padded_dim;
    weigh_values<T, Pairs, Ahead>({page.values + d * kPageTokens, (last ? task.padded_dim - d : kValueChunk) / kLanes,
                                   last ? page.ahead_last : page.ahead},
                                  seen, scratch.scores, scratch.page_out + d);
  }
  fold(scratch.span.from(in_block), {page_max, page_sum, scratch.page_out}, Pairs, task.padded_dim);
}

// Pairs [begin, end) walk one page in tiles of nearly equal size; the first tile asks for what comes next.
template <class T>
void tiles(const AttendTask& task, const Page<T>& page, Range pairs, bool ahead, const Scratch& scratch) {
  for (int64_t pair = pairs.begin; pair < pairs.end;) {
    const int64_t left = pairs.end - pair, count = (left + kTilePairs - 1) / kTilePairs;
    const int64_t size = (left + count - 1) / count;
    with_pairs(size, [&](auto n) UPDRAFT_INLINE {
      if (ahead && pair == pairs.begin) {
        tile<T, n.value, true>(task, page, pair, scratch);
      } else {
        tile<T, n.value, false>(task, page, pair, scratch);
      }
    });
    pair += size;
  }
}

inline void widen(const half_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) Lanes::load(from + i).store(to + i);
}

template <class T>
void walk_page(const AttendTask& task, int64_t index, Range pairs, const Scratch& scratch) {
  const char* block = task.blocks + task.page_table[index] * task.page_bytes;
  Page<T> page = {reinterpret_cast<const T*>(block), reinterpret_cast<const T*>(block + task.value_bytes),
                  index * kPageTokens, kValueChunk * kPageTokens * int64_t(sizeof(T)), 0};
  if constexpr (sizeof(T) == 2) {
    if (pairs.end - pairs.begin > kConvertPairs) {
      float* keys = scratch.page;
      float* values = scratch.page + kPageTokens * kMaxHeadDim;
      widen(page.keys, task.head_dim * kPageTokens, keys);
      widen(page.values, task.padded_dim * kPageTokens, values);
      return tiles<float>(task, {keys, values, page.start, 0, 0}, pairs, false, scratch);
    }
  }
  // A block is read from its first byte to its last; from its last chunk on, the next page's block is asked for.
  if (index + 1 < task.page_end) {
    const int64_t last_chunk = (task.padded_dim - 1) / kValueChunk * kValueChunk * kPageTokens * int64_t(sizeof(T));
    page.ahead_last = (task.page_table[index + 1] - int64_t(task.page_table[index])) * task.page_bytes -
                      task.value_bytes - last_chunk;
  }
  tiles<T>(task, page, pairs, true, scratch);
}

// Pairs of the task that see anything of a page: rows from the page's first position to the last whose window reaches
// it.
inline Range pairs_of_page(const AttendTask& task, int64_t page) {
  const int64_t start = page * kPageTokens;
  Range pairs = {task.pair_begin, task.pair_end};
  const int64_t first = (start - task.first_position) * task.group;
  if (first > pairs.begin) pairs.begin = first;
  if (task.window > 0) {
    const int64_t end = (start + kPageTokens - 1 + task.window - task.first_position) * task.group;
    if (end < pairs.end) pairs.end = end;
  }
  return pairs;
}

// One pair's state at the end of the span of `page`.
inline void write_partial(const AttendTask& task, States state, int64_t pair, int64_t page) {
  const int64_t span = page / kSpanPages - task.page_begin / kSpanPages;
  float* record = task.partials + pair * task.partial_pair_stride + span * task.partial_span_stride;
  record[0] = *state.max;
  record[1] = *state.sum;
  std::memcpy(record + kLanes, state.out, size_t(task.padded_dim) * sizeof(float));
}

// Adds the span that ends with `page` to the result, or writes it down, and starts the next one.
inline void close_span(const AttendTask& task, const Scratch& scratch, int64_t page) {
  const int64_t pairs = task.pair_end - task.pair_begin;
  for (int64_t p = 0; p < pairs; ++p) {
    if (task.partials != nullptr) {
      write_partial(task, scratch.span.from(p), task.pair_begin + p, page);
    } else if (scratch.span.sum[p] != 0) {
      fold(scratch.result.from(p), scratch.span.from(p), 1, task.padded_dim);
    }
  }
  clear(scratch.span, pairs, task.padded_dim);
}

// out [head_dim] = state's output / its sum
inline void write_result(States state, int64_t head_dim, float* out) {
  const Lanes divisor = Lanes::broadcast(*state.sum);
  for (int64_t d = 0; d < head_dim; d += kLanes) {
    const Lanes result = Lanes::load(state.out + d) / divisor;
    if (head_dim - d >= kLanes) {
      result.store(out + d);
    } else {
      result.store_first(out + d, int(head_dim - d));
    }
  }
}

// Where a pair's head of `rows` (q or out) lies, in floats.
inline int64_t head_offset(const AttendTask& task, int64_t pair) {
  return pair / task.group * task.row_stride + pair % task.group * task.head_dim;
}

// out = softmax(scale q K^T) V for pairs [pair_begin, pair_end).
// Reads: each page's K and V once per kBlockPairs pairs; 4 head_dim flop per pair and key; q and states stay in L2.
// Mistral-7B's shape (32 query heads, 8 key/value heads of 128, F16), 2 cores of a Granite Rapids class Xeon, AVX-512:
//   one row at context 4096: 23 GB/s of K and V, 70 % of the 32.6 GB/s that plain 64-byte loads of the same memory
//   reach; the inner loop alone reaches 26. Prefetching into L1 instead of L2 costs a quarter, none at all a third.
//   256 rows at context 32768: 251 GFLOP/s, 93 % of the measured multiply-add peak of 271; at context 256: 139.
// Guarded by tests/compute/attention_test.cc; measured by benchmarks/attention_benchmark.cc.
inline void attend(const AttendTask& task, float* scratch_memory) {
  const Scratch scratch(scratch_memory);
  const int64_t pairs = task.pair_end - task.pair_begin;
  for (int64_t p = 0; p < pairs; ++p)
    std::memcpy(scratch.queries + p * kRowStride, task.q + head_offset(task, task.pair_begin + p),
                size_t(task.head_dim) * sizeof(float));
  clear(scratch.span, pairs, task.padded_dim);
  clear(scratch.result, pairs, task.padded_dim);
  for (int64_t page = task.page_begin; page < task.page_end; ++page) {
    if (page % kSpanPages == 0 && page != task.page_begin) close_span(task, scratch, page - 1);
    const Range walking = pairs_of_page(task, page);
    if (walking.begin >= walking.end) continue;
    if (task.dtype == KvType::kF16) {
      walk_page<half_t>(task, page, walking, scratch);
    } else {
      walk_page<float>(task, page, walking, scratch);
    }
  }
  close_span(task, scratch, task.page_end - 1);
  if (task.partials != nullptr) return;
  for (int64_t p = 0; p < pairs; ++p)
    write_result(scratch.result.from(p), task.head_dim, task.out + head_offset(task, task.pair_begin + p));
}

inline void merge_spans(const float* partials, int64_t spans, int64_t span_stride, int64_t head_dim, float* out) {
  alignas(64) float result_out[kRowStride];
  float largest, total;
  const int64_t padded_dim = kv_padded_dim(head_dim);
  const States result = {&largest, &total, result_out};
  clear(result, 1, padded_dim);
  for (int64_t s = 0; s < spans; ++s, partials += span_stride) {
    float record[kRowStride + kLanes];
    std::memcpy(record, partials, size_t(kLanes + padded_dim) * sizeof(float));
    if (record[1] != 0) fold(result, {record, record + 1, record + kLanes}, 1, padded_dim);
  }
  write_result(result, head_dim, out);
}

// out_i = x_i cos_i - x_{i+h} sin_i, out_{i+h} = x_{i+h} cos_i + x_i sin_i with h = head_dim / 2, x first normed if the
// model norms its heads. Moves 4 head_dim floats; the projection before it moves thousands of times more.
inline void rotate_head(const HeadRotation& rotation, const float* x, float* out) {
  const int64_t pairs = rotation.head_dim / 2;
  float normed[kMaxHeadDim];
  if (rotation.norm != nullptr) {
    rms_norm(x, rotation.norm, rotation.epsilon, rotation.head_dim, normed);
    x = normed;
  }
  for (int64_t i = 0; i < pairs; i += kLanes) {
    const int n = int(pairs - i < kLanes ? pairs - i : kLanes);
    const Lanes cos = Lanes::load_first(rotation.cos + i, n), sin = Lanes::load_first(rotation.sin + i, n);
    const Lanes low = Lanes::load_first(x + i, n), high = Lanes::load_first(x + pairs + i, n);
    fnma(high, sin, low * cos).store_first(out + i, n);
    fma(low, sin, high * cos).store_first(out + pairs + i, n);
  }
}

// to[i] = x[i], rounded; zeros up to a multiple of 16.
template <class T>
void store_row(const float* x, int64_t count, T* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Lanes::load(x + i).store(to + i);
  if (i < count) Lanes::load_first(x + i, int(count - i)).store(to + i);
}

// K is stored transposed: one element in each of head_dim rows. Slow for one key (head_dim cache lines), but these are
// lines that attend() reads next.
template <class T>
void store_key_as(const float* k, int64_t head_dim, T* block, int64_t slot) {
  T rounded[kMaxHeadDim];
  store_row(k, head_dim, rounded);
  for (int64_t d = 0; d < head_dim; ++d) block[d * kPageTokens + slot] = rounded[d];
}

inline void store_key(const float* k, int64_t head_dim, KvType dtype, void* block, int64_t slot) {
  if (dtype == KvType::kF16) {
    store_key_as(k, head_dim, static_cast<half_t*>(block), slot);
  } else {
    store_key_as(k, head_dim, static_cast<float*>(block), slot);
  }
}

template <class T>
void store_value_as(const float* v, int64_t head_dim, T* values, int64_t slot) {
  const int64_t padded_dim = kv_padded_dim(head_dim);
  for (int64_t d = 0; d < head_dim; d += kValueChunk) {
    const int64_t dims = padded_dim - d < kValueChunk ? padded_dim - d : kValueChunk;
    store_row(v + d, head_dim - d < dims ? head_dim - d : dims, values + d * kPageTokens + slot * dims);
  }
}

inline void store_value(const float* v, int64_t head_dim, KvType dtype, void* block, int64_t slot) {
  if (dtype == KvType::kF16) {
    store_value_as(v, head_dim, static_cast<half_t*>(block) + head_dim * kPageTokens, slot);
  } else {
    store_value_as(v, head_dim, static_cast<float*>(block) + head_dim * kPageTokens, slot);
  }
}

constexpr AttentionKernels kAttentionKernels = {
    .rotate_head = rotate_head,
    .store_key = store_key,
    .store_value = store_value,
    .attend = attend,
    .merge_spans = merge_spans,
};

}  // namespace updraft::compute::cpu::UPDRAFT_ISA::attention
