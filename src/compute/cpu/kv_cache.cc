#include "compute/cpu/kv_cache.h"

#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "base/thread_team.h"
#include "compute/cpu/huge_memory.h"

namespace updraft::compute::cpu {
namespace {

// splitmix64: the counter-based generator of Steele, Lea and Flood (2014).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Four halves: random sign and mantissa, a magnitude in [1/8, 2), root mean square 0.88.
uint64_t four_halves(uint64_t counter) { return (mix(counter) & 0x8fff8fff8fff8fffu) | 0x3000300030003000u; }

constexpr float kFilledScale = 0.88f / 73.9f;

KvBlocks block_shape(const KvGeometry& geometry) {
  KvBlocks blocks;
  blocks.padded_dim = kv_padded_dim(geometry.head_dim);
  const int64_t element = geometry.dtype == KvType::kInt8 ? 1 : geometry.dtype == KvType::kF16 ? 2 : 4;
  const int64_t scales = geometry.dtype == KvType::kInt8 ? 2 * int64_t(sizeof(float)) : 0;  // K's and V's of a slot
  blocks.value_bytes = kPageTokens * (geometry.head_dim * element + scales);
  blocks.block_bytes = blocks.value_bytes + kPageTokens * blocks.padded_dim * element;
  blocks.heads = geometry.key_value_heads;
  return blocks;
}

int64_t whole_runs(int64_t pages) { return (pages + kRunPages - 1) / kRunPages * kRunPages; }

class CpuKvCache final : public KvCache {
 public:
  CpuKvCache(const KvGeometry& shape, int64_t page_count, ThreadTeam* team) : blocks_(block_shape(shape)), team_(team) {
    geometry = shape;
    pages = page_count;
    page_tokens = kPageTokens;
    bytes = geometry.layers * pages * blocks_.heads * blocks_.block_bytes;
    blocks_.layer_bytes = whole_runs(pages) * blocks_.heads * blocks_.block_bytes;
    memory_ = HugeMemory(geometry.layers * blocks_.layer_bytes, "the KV cache");
    blocks_.data = memory_.as<char>();
  }

  void copy_pages(std::span<const int32_t> from, std::span<const int32_t> to) override {
    CHECK(from.size() == to.size()) << from.size() << " pages to " << to.size();
    for (size_t i = 0; i < from.size(); ++i) check_page(from[i]), check_page(to[i]);
    // One layer a task, pages in the order given: a page may be both a source and, later, a target.
    for_each_layer([&](int64_t layer) {
      for (size_t i = 0; i < from.size(); ++i)
        for (int64_t head = 0; head < blocks_.heads; ++head)
          std::memmove(block(layer, head, to[i]), block(layer, head, from[i]), size_t(blocks_.block_bytes));
    });
  }

  void fill_pages(std::span<const int32_t> filled, uint64_t seed) override {
    for (int32_t page : filled) check_page(page);
    for_each_layer([&](int64_t layer) {
      for (size_t i = 0; i < filled.size(); ++i)
        for (int64_t head = 0; head < blocks_.heads; ++head)
          fill(block(layer, head, filled[i]),
               mix(seed ^ mix(uint64_t(layer) << 48 | uint64_t(head) << 32 | uint64_t(i))));
    });
  }

  const KvBlocks& blocks() const { return blocks_; }

 private:
  void check_page(int32_t page) const { CHECK(page >= 0 && page < pages) << "page " << page << " of " << pages; }
  char* block(int64_t layer, int64_t head, int32_t page) const {
    return blocks_.of_head(layer, head) + blocks_.page_offset(page);
  }

  void for_each_layer(FunctionRef<void(int64_t)> body) {
    if (team_ == nullptr) {
      for (int64_t layer = 0; layer < geometry.layers; ++layer) body(layer);
      return;
    }
    team_->parallel_for(geometry.layers, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t layer = begin; layer < end; ++layer) body(layer);
    });
  }

  // Int8: uniform odd integers, whose root mean square is 73.9, and the scale that makes it 0.88.
  void fill_int8(char* out, uint64_t key) const {
    const auto fill_bytes = [&](char* to, int64_t count) {
      for (int64_t i = 0; i < count; i += 8) {
        const uint64_t eight = mix(key++) | 0x0101010101010101u;
        std::memcpy(to + i, &eight, 8);
      }
    };
    const int64_t keys = geometry.head_dim * kPageTokens;
    fill_bytes(out, keys);
    for (int64_t i = keys; i < blocks_.value_bytes; i += 4) std::memcpy(out + i, &kFilledScale, 4);
    fill_bytes(out + blocks_.value_bytes, blocks_.block_bytes - blocks_.value_bytes);
  }

  void fill(char* out, uint64_t key) const {
    if (geometry.dtype == KvType::kInt8) return fill_int8(out, key);
    if (geometry.dtype == KvType::kF16) {
      for (int64_t i = 0; i < blocks_.block_bytes; i += 8) {
        const uint64_t four = four_halves(key + uint64_t(i / 8));
        std::memcpy(out + i, &four, 8);
      }
      return;
    }
    for (int64_t i = 0; i < blocks_.block_bytes; i += 16) {  // the same values, widened (none is zero or subnormal)
      const uint64_t four = four_halves(key + uint64_t(i / 16));
      for (int j = 0; j < 4; ++j) {
        const uint32_t half = uint32_t(four >> (16 * j)) & 0xffffu;
        const uint32_t single = ((half & 0x8000u) << 16) | (((half & 0x7fffu) << 13) + 0x38000000u);
        std::memcpy(out + i + 4 * j, &single, 4);
      }
    }
  }

  KvBlocks blocks_;
  HugeMemory memory_;
  ThreadTeam* team_;
};

}  // namespace

KvCachePtr make_kv_cache(const KvGeometry& geometry, int64_t pages, ThreadTeam* team) {
  CHECK(pages >= 0 && geometry.layers >= 1 && geometry.key_value_heads >= 1) << pages;
  if (geometry.head_dim < 2 || geometry.head_dim > kMaxHeadDim || geometry.head_dim % 2 != 0)
    fail("The cpu machine takes an even head_dim from 2 to {}, not {}.", kMaxHeadDim, geometry.head_dim);
  const int64_t block_bytes = block_shape(geometry).block_bytes;
  int64_t bytes = 0;
  if (__builtin_mul_overflow(block_bytes * geometry.key_value_heads, int64_t(geometry.layers), &bytes) ||
      __builtin_mul_overflow(bytes, whole_runs(pages), &bytes) || bytes > std::numeric_limits<int64_t>::max() / 2)
    fail("A KV cache of {} pages is larger than any address space: ask for a smaller --context.", pages);
  return std::make_shared<CpuKvCache>(geometry, pages, team);
}

const KvBlocks& kv_blocks(const KvCache& cache) { return static_cast<const CpuKvCache&>(cache).blocks(); }

}  // namespace updraft::compute::cpu
