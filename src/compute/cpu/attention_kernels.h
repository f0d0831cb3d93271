// The attention half of a Kernels table: filled from attention_body.h in each kernels_<isa>.cc. A pair is one row of a
// sequence with one of the query heads that share a key/value head: pair = row * group + head, so that a page's K and
// V, once loaded, serve all pairs.
#pragma once

#include <cstdint>

#include "compute/cpu/kv_cache.h"

namespace updraft::compute::cpu {

constexpr int64_t kBlockPairs = 192;  // most pairs that walk the pages together: q, outputs and a page stay in L2
constexpr int64_t kSpanPages = 8;     // pages are folded into a span in order, spans into the result in order: numerics
constexpr int64_t kRowStride =
    272;  // floats between rows of scratch: the largest head and one line, never a power of two
constexpr int64_t kWholeStride = 2 * kRowStride;  // of rows of 16-bit integers
constexpr int64_t kAttendScratchFloats = (3 * kBlockPairs + 16) * kRowStride + 5 * kBlockPairs + 2 * 64 * 256 + 1024;

// Where one head comes from and how it is turned.
struct HeadRotation {
  const float* norm = nullptr;  // [head_dim] weights of an RMSNorm before the rotation, or null
  float epsilon = 0;
  const float* cos = nullptr;  // [head_dim / 2], of the row's position
  const float* sin = nullptr;
  int64_t head_dim = 0;
};

// Pages [page_begin, page_end) of one sequence, read by pairs [pair_begin, pair_end) of one key/value head.
struct AttendTask {
  const float* q = nullptr;  // first row of the sequence, first query head of the group
  float* out = nullptr;      // likewise
  int64_t row_stride = 0;    // of q and out
  int64_t group = 0;         // query heads per key/value head
  int64_t head_dim = 0;
  int64_t padded_dim = 0;
  float scale = 0;
  int64_t window = 0;          // 0: none
  int64_t first_position = 0;  // of the sequence's first row; the others follow it
  KvType dtype = KvType::kF16;
  const KvBlocks* blocks = nullptr;
  const char* keys = nullptr;  // of this layer and head, page 0
  const int32_t* page_table = nullptr;
  int64_t pair_begin = 0, pair_end = 0;
  int64_t page_begin = 0, page_end = 0;
  const char* block_of(int64_t index) const { return keys + blocks->page_offset(page_table[index]); }
  const char* after = nullptr;  // the block this thread is likely to read after the last page, or null
  // Not null: the pages are whole spans of the sequence, but for its first and last; the state of pair p in the task's
  // span s goes to partials + p * partial_pair_stride + s * partial_span_stride: [largest score, sum, 14 unused,
  // output [padded_dim]]; sum 0: the pair sees nothing of the span.
  float* partials = nullptr;
  int64_t partial_pair_stride = 0;
  int64_t partial_span_stride = 0;
};

struct AttentionKernels {
  // out = rotated (and first normed) x   [head_dim]
  void (*rotate_head)(const HeadRotation&, const float* x, float* out);
  // Rounds to the cache's type and stores at `slot` of a block.
  void (*store_key)(const float* k, int64_t head_dim, KvType, void* block, int64_t slot);
  void (*store_value)(const float* v, int64_t head_dim, KvType, void* block, int64_t slot);
  // scratch: kAttendScratchFloats of the calling thread's own, 64-byte aligned
  void (*attend)(const AttendTask&, float* scratch);
  // Folds one pair's states of consecutive spans in order and divides: out [head_dim].
  void (*merge_spans)(const float* partials, int64_t spans, int64_t span_stride, int64_t head_dim, float* out);
};

}  // namespace updraft::compute::cpu
