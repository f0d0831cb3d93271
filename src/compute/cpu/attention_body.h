// Attention over the paged cache, written once in Lanes. A pair's result is one fixed sequence of operations, whatever
// pairs share its tile: scores are one chain of multiply-adds over the dimensions per key; a page gives (largest score,
// sum of exponentials, output chained over its keys); pages are folded in order into a span of kSpanPages, spans in
// order into the result. Keys a pair may not see are left out, never multiplied by zero. Guarded by
// tests/compute/attention_test.cc against double precision, and with == across tiles, threads and instruction sets.
//
// For kernels_<isa>.cc only.
#pragma once

#include <type_traits>

#include "compute/cpu/attention_float.h"
#include "compute/cpu/attention_int8.h"
#include "compute/cpu/attention_states.h"

namespace updraft::compute::cpu::UPDRAFT_ISA::attention {

template <class T, int Pairs, bool Ahead>
UPDRAFT_INLINE inline void tile_of(const AttendTask& task, const Page<T>& page, int64_t pair, const Scratch& scratch) {
  if constexpr (std::is_same_v<T, int8_t>) {
    tile_int8<Pairs, Ahead>(task, page, pair, scratch);
  } else {
    tile<T, Pairs, Ahead>(task, page, pair, scratch);
  }
}

// Pairs [begin, end) walk one page in tiles of nearly equal size; the first tile asks for what comes next.
template <class T>
void tiles(const AttendTask& task, const Page<T>& page, Range pairs, bool ahead, const Scratch& scratch) {
  for (int64_t pair = pairs.begin; pair < pairs.end;) {
    const int64_t left = pairs.end - pair, count = (left + kTilePairs - 1) / kTilePairs;
    const int64_t size = (left + count - 1) / count;
    with_pairs(size, [&](auto n) UPDRAFT_INLINE {
      if (ahead && pair == pairs.begin) {
        tile_of<T, n.value, true>(task, page, pair, scratch);
      } else {
        tile_of<T, n.value, false>(task, page, pair, scratch);
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
  const char* block = task.block_of(index);
  Page<T> page = {reinterpret_cast<const T*>(block), reinterpret_cast<const T*>(block + task.blocks->value_bytes),
                  nullptr, index * kPageTokens, nullptr};
  if constexpr (sizeof(T) == 2) {
    if (pairs.end - pairs.begin > kConvertPairs) {
      float* keys = scratch.page;
      float* values = scratch.page + kPageTokens * kMaxHeadDim;
      widen(page.keys, task.head_dim * kPageTokens, keys);
      widen(page.values, task.padded_dim * kPageTokens, values);
      // Nothing is asked for ahead: `next` is only somewhere to count from.
      return tiles<float>(task, {keys, values, nullptr, page.start, block}, pairs, false, scratch);
    }
  }
  if constexpr (std::is_same_v<T, int8_t>)
    page.scales = reinterpret_cast<const float*>(block + task.head_dim * kPageTokens);
  const char* after = task.after != nullptr ? task.after : block;
  page.next = index + 1 < task.page_end ? task.block_of(index + 1) : after;
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

inline void take_query(const AttendTask& task, int64_t pair_in_block, const Scratch& scratch) {
  const float* q = task.q + head_offset(task, task.pair_begin + pair_in_block);
  if (task.dtype == KvType::kInt8) {
    scratch.query_scale[pair_in_block] =
        quantize_row(q, task.head_dim, kWholeRange, scratch.whole_queries + pair_in_block * kWholeStride);
  } else {
    std::memcpy(scratch.queries + pair_in_block * kRowStride, q, size_t(task.head_dim) * sizeof(float));
  }
}

// out = softmax(scale q K^T) V for pairs [pair_begin, pair_end).
// Reads: each page's K and V once per kBlockPairs pairs; 4 head_dim flop per pair and key; q and states stay in L2.
// Mistral-7B's shape (32 query heads, 8 key/value heads of 128, F16), 2 cores of a Granite Rapids class Xeon, AVX-512:
//   256 rows at context 32768: 251 GFLOP/s, 93 % of the measured multiply-add peak of 271; at context 256: 139.
// 2 cores of an Emerald Rapids class Xeon, AVX-512 VNNI, quiet:
//   256 rows at context 256: F16 186, int8 247 (129 and 162 while exp underflowed for what is hidden).
//   One row at context 32768, two threads, in turns with a plain read of the same memory: F16 85 %, int8 79 %.
//   The loops alone, from the second-level cache, 1 thread: int8 24 GB/s, where memory gives 17; 1,280 of a page's
//   some 1,800 cycles are multiply-adds and widening on two ports. What
//   is left: while a page's softmax computes, the memory's queue runs empty (a bare loop over the same rows reaches
//   93 %, with a pause as long as the softmax 80 to 90 %).
// Guarded by tests/compute/attention_test.cc; measured by benchmarks/attention_benchmark.cc.
inline void attend(const AttendTask& task, float* scratch_memory) {
  const Scratch scratch(scratch_memory);
  const int64_t pairs = task.pair_end - task.pair_begin;
  for (int64_t p = 0; p < pairs; ++p) take_query(task, p, scratch);
  clear(scratch.span, pairs, task.padded_dim);
  clear(scratch.result, pairs, task.padded_dim);
  for (int64_t page = task.page_begin; page < task.page_end; ++page) {
    if (page % kSpanPages == 0 && page != task.page_begin) close_span(task, scratch, page - 1);
    const Range walking = pairs_of_page(task, page);
    if (walking.begin >= walking.end) continue;
    switch (task.dtype) {
      case KvType::kF16:
        walk_page<half_t>(task, page, walking, scratch);
        break;
      case KvType::kF32:
        walk_page<float>(task, page, walking, scratch);
        break;
      case KvType::kInt8:
        walk_page<int8_t>(task, page, walking, scratch);
        break;
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
  switch (dtype) {
    case KvType::kF16:
      return store_key_as(k, head_dim, static_cast<half_t*>(block), slot);
    case KvType::kF32:
      return store_key_as(k, head_dim, static_cast<float*>(block), slot);
    case KvType::kInt8:
      return store_key_int8(k, head_dim, static_cast<char*>(block), slot);
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
  switch (dtype) {
    case KvType::kF16:
      return store_value_as(v, head_dim, static_cast<half_t*>(block) + head_dim * kPageTokens, slot);
    case KvType::kF32:
      return store_value_as(v, head_dim, static_cast<float*>(block) + head_dim * kPageTokens, slot);
    case KvType::kInt8:
      return store_value_int8(v, head_dim, static_cast<char*>(block), slot);
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
