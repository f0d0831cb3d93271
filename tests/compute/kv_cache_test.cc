// The CPU's KV cache: whole pages are copied, filling is reproducible wherever the pages lie, bad geometry is refused.
#include "compute/cpu/kv_cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "base/thread_team.h"

namespace updraft::compute::cpu {
namespace {

int64_t layer_page_bytes(const KvCache& cache) { return cache.bytes / cache.pages / cache.geometry.layers; }

// The page's blocks, head after head.
std::vector<char> page_of(const KvCache& cache, int layer, int64_t page) {
  const KvBlocks& blocks = kv_blocks(cache);
  std::vector<char> all;
  for (int64_t head = 0; head < blocks.heads; ++head) {
    const char* block = blocks.of_head(layer, head) + blocks.page_offset(page);
    all.insert(all.end(), block, block + blocks.block_bytes);
  }
  return all;
}

bool same_page(const KvCache& a, int64_t page_a, const KvCache& b, int64_t page_b) {
  for (int layer = 0; layer < a.geometry.layers; ++layer)
    if (page_of(a, layer, page_a) != page_of(b, layer, page_b)) return false;
  return true;
}

std::vector<float> values_of(const KvCache& cache, int layer, int64_t page) {
  std::vector<float> values;
  const std::vector<char> bytes = page_of(cache, layer, page);
  const char* from = bytes.data();
  if (cache.geometry.dtype == KvType::kF32) {
    values.resize(size_t(layer_page_bytes(cache) / 4));
    std::memcpy(values.data(), from, size_t(layer_page_bytes(cache)));
  } else if (cache.geometry.dtype == KvType::kInt8) {
    const KvBlocks blocks = kv_blocks(cache);
    const int64_t keys = cache.geometry.head_dim * kPageTokens;
    for (const char* end = from + layer_page_bytes(cache); from < end; from += blocks.block_bytes)
      for (int64_t i = 0; i < blocks.block_bytes; ++i) {
        float scale;
        std::memcpy(&scale, from + keys, 4);  // all the same
        if (i < keys || i >= blocks.value_bytes) values.push_back(float(static_cast<signed char>(from[i])) * scale);
      }
  } else {
    for (int64_t i = 0; i < layer_page_bytes(cache) / 2; ++i) {
      half_t half;
      std::memcpy(&half, from + 2 * i, 2);
      values.push_back(to_float(half));
    }
  }
  return values;
}

TEST(KvCache, IsAsLargeAsItsNumbers) {
  const auto cache = make_kv_cache({3, 2, 40, KvType::kF16}, 5, nullptr);
  EXPECT_EQ(cache->page_tokens, kPageTokens);
  EXPECT_EQ(cache->bytes, 3 * 5 * 2 * kPageTokens * (40 + 48) * 2);  // V rows are padded to 48
  EXPECT_EQ(make_kv_cache({3, 2, 64, KvType::kF32}, 5, nullptr)->bytes, 3 * 5 * 2 * kPageTokens * (64 + 64) * 4);
  const KvGeometry geometry{3, 2, 64, KvType::kInt8};
  EXPECT_EQ(make_kv_cache(geometry, 5, nullptr)->bytes, 3 * 5 * 2 * kPageTokens * (64 + 4 + 64 + 4));
  EXPECT_EQ(make_kv_cache(geometry, 5, nullptr)->bytes, 5 * kPageTokens * geometry.bytes_per_token());
}

TEST(KvCache, FillIsReproducibleAndSane) {
  for (KvType dtype : kKvTypes) {
    ThreadTeam team(2);
    const auto one = make_kv_cache({3, 2, 40, dtype}, 5, nullptr);
    const auto two = make_kv_cache({3, 2, 40, dtype}, 9, &team);
    one->fill_pages(std::vector<int32_t>{0, 1, 2}, 42);
    two->fill_pages(std::vector<int32_t>{8, 0, 5}, 42);
    EXPECT_TRUE(same_page(*one, 0, *two, 8) && same_page(*one, 1, *two, 0) && same_page(*one, 2, *two, 5));
    EXPECT_FALSE(same_page(*one, 0, *one, 1));
    one->fill_pages(std::vector<int32_t>{3}, 43);
    EXPECT_FALSE(same_page(*one, 0, *one, 3));
    double squares = 0, sum = 0;
    const std::vector<float> values = values_of(*one, 2, 1);
    EXPECT_NE(values, values_of(*one, 1, 1));
    for (float x : values) {
      ASSERT_LE(std::abs(x), 2.0f);
      squares += double(x) * double(x), sum += double(x);
    }
    EXPECT_NEAR(std::sqrt(squares / double(values.size())), 0.88, 0.05);
    EXPECT_NEAR(sum / double(values.size()), 0, 0.05);
  }
}

TEST(KvCache, F32FillHoldsTheValuesOfF16Fill) {
  const auto half = make_kv_cache({1, 2, 16, KvType::kF16}, 1, nullptr);
  const auto single = make_kv_cache({1, 2, 16, KvType::kF32}, 1, nullptr);
  half->fill_pages(std::vector<int32_t>{0}, 1);
  single->fill_pages(std::vector<int32_t>{0}, 1);
  EXPECT_EQ(values_of(*half, 0, 0), values_of(*single, 0, 0));
}

TEST(KvCache, CopiesWholePagesInOrder) {
  ThreadTeam team(2);
  const auto cache = make_kv_cache({3, 2, 6, KvType::kF16}, 6, &team);
  const auto before = make_kv_cache({3, 2, 6, KvType::kF16}, 6, nullptr);
  const std::vector<int32_t> all = {0, 1, 2, 3, 4, 5};
  cache->fill_pages(all, 9);
  before->fill_pages(all, 9);
  cache->copy_pages(std::vector<int32_t>{1, 4, 2, 2}, std::vector<int32_t>{3, 1, 0, 2});
  const int64_t expected[] = {2, 4, 2, 1, 4, 5};
  for (int64_t page = 0; page < 6; ++page) EXPECT_TRUE(same_page(*cache, page, *before, expected[page])) << page;
}

TEST(KvCache, RefusesWhatItCannotKeep) {
  EXPECT_THROW(make_kv_cache({1, 1, 258, KvType::kF16}, 1, nullptr), Error);
  EXPECT_THROW(make_kv_cache({1, 1, 7, KvType::kF16}, 1, nullptr), Error);
  EXPECT_THROW(make_kv_cache({1000, 1000, 256, KvType::kF32}, int64_t(1) << 50, nullptr), Error);
}

}  // namespace
}  // namespace updraft::compute::cpu
