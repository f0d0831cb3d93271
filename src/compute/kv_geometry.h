// The paged KV cache as the seam sees it. A page holds kPageTokens consecutive positions of one sequence, for every
// layer and every key/value head; how it lies in memory is the machine's secret.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/dtype.h"

namespace updraft::compute {

struct KvGeometry {
  int layers = 0;
  int key_value_heads = 0;
  int head_dim = 0;
  DType dtype = DType::kF16;  // kF16 or kF32
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
