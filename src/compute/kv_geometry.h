// The paged KV cache as the seam sees it. A page holds kPageTokens consecutive positions of one sequence, for every
// layer and every key/value head; how it lies in memory is the machine's secret.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace updraft::compute {

// How keys and values are kept, by the names users know.
// kInt8: x = q s with q in [-127, 127] and one F32 s for the key, or value, of one token and head: s = largest |x| /
// 127, q = x (127 / largest |x|) to the nearest integer, in F32 arithmetic.
enum class KvType : uint8_t { kF16, kF32, kInt8 };
constexpr KvType kKvTypes[] = {KvType::kF16, KvType::kF32, KvType::kInt8};

constexpr std::string_view name(KvType type) {
  switch (type) {
    case KvType::kF16:
      return "f16";
    case KvType::kF32:
      return "f32";
    case KvType::kInt8:
      return "int8";
  }
  return "?";
}

constexpr std::string_view kKvTypeNames = "f16, f32, int8";

constexpr std::optional<KvType> kv_type_named(std::string_view text) {
  for (KvType type : kKvTypes)
    if (name(type) == text) return type;
  return std::nullopt;
}

// Bytes of one token's key, or value, of one head.
constexpr int64_t head_row_bytes(KvType type, int64_t head_dim) {
  return type == KvType::kInt8 ? head_dim + 4 : type == KvType::kF16 ? head_dim * 2 : head_dim * 4;
}

struct KvGeometry {
  int layers = 0;
  int key_value_heads = 0;
  int head_dim = 0;
  KvType dtype = KvType::kF16;

  // One token's keys and values in all layers.
  int64_t bytes_per_token() const { return int64_t(2) * layers * key_value_heads * head_row_bytes(dtype, head_dim); }
};

class KvCache {
 public:
  virtual ~KvCache() = default;
  // Copies whole pages (all layers): page to[i] becomes equal to page from[i]. Fork of a shared page, swap.
  virtual void copy_pages(std::span<const int32_t> from, std::span<const int32_t> to) = 0;
  // Fills the pages with reproducible values of a trained model's magnitude, without computing them: for measuring at a
  // depth.
  virtual void fill_pages(std::span<const int32_t> pages, uint64_t seed) = 0;

  KvGeometry geometry;
  int64_t pages = 0;
  int64_t page_tokens = 0;
  int64_t bytes = 0;  // all pages, all layers
};
using KvCachePtr = std::shared_ptr<KvCache>;

struct KvLayer {
  KvCache* cache = nullptr;
  int layer = 0;
};

}  // namespace updraft::compute
