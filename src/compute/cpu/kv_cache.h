// The KV cache of the CPU machine: pages of kPageTokens positions in anonymous memory, in 2 MiB system pages where the
// system grants them, touched only when first written. One block per (layer, page, key/value head) is read from its
// first byte to its last: K transposed, [head_dim][kPageTokens], so that sixteen keys share a register and a score is
// one chain of fused multiply-adds over the dimensions; then V in chunks of kValueChunk dimensions, [kPageTokens][dims
// of the chunk]. Int8 blocks interleave pairs (of dimensions in K, of slots in V) for integer multiply-adds, and hold
// the F32 scales of the page's K rows and V rows between K and V: K [head_dim / 2][kPageTokens][2], scales
// [2][kPageTokens], V [kPageTokens / 2][dims of the chunk][2].
#pragma once

#include <cstdint>

#include "compute/kv_geometry.h"

namespace updraft {
class ThreadTeam;
}

namespace updraft::compute::cpu {

constexpr int64_t kPageTokens = 64;
constexpr int64_t kMaxHeadDim = 256;
constexpr int64_t kValueChunk = 64;
constexpr int64_t kRunPages = 8;

// Throws Error when the address space cannot be had. `team` (may be null) helps copy and fill, and must outlive the
// cache.
KvCachePtr make_kv_cache(const KvGeometry& geometry, int64_t pages, ThreadTeam* team);

// Where a block lies; the cache must be one of make_kv_cache's.
struct KvBlocks {
  // [layer][page / kRunPages][key_value_head][page % kRunPages][block_bytes]: neighbouring pages of a head are read as
  // one piece, and a short sequence touches little memory.
  char* data = nullptr;
  int64_t padded_dim = 0;   // head_dim rounded up to 16; V's padding is never read into a result
  int64_t value_bytes = 0;  // from a block's first byte to its V
  int64_t block_bytes = 0;
  int64_t heads = 0;        // key/value heads
  int64_t layer_bytes = 0;  // from one layer to the next

  // Of page 0 of a layer and head; page p lies page_offset(p) after it.
  char* of_head(int64_t layer, int64_t head) const {
    return data + layer * layer_bytes + head * kRunPages * block_bytes;
  }
  int64_t page_offset(int64_t page) const { return (page / kRunPages * (heads - 1) * kRunPages + page) * block_bytes; }
};
// Head dimensions of V as stored: a multiple of 16; the padding is never read into a result.
static constexpr int64_t kv_padded_dim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }
const KvBlocks& kv_blocks(const KvCache& cache);

}  // namespace updraft::compute::cpu
