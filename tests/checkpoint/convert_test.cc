#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/half.h"
#include "checkpoint/checkpoint.h"
#include "tests/checkpoint/memory_rows.h"
#include "tests/support/error_text.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

template <class T>
std::vector<T> read_all(const RowSource& source) {
  std::vector<T> all(size_t(source.rows() * source.columns()));
  source.read_rows(0, source.rows(), all.data());
  return all;
}

std::vector<uint16_t> every_pattern() {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = uint16_t(i);
  return all;
}

// F16 has no place for it: convert() refuses to.
bool overflows_half(float x) { return std::isfinite(x) && std::abs(x) >= 65520; }

TEST(Convert, TheSameTypeIsTheSourceItself) {
  const auto source = rows_of<float>({1, 2, 3}, 3, DType::kF32);
  EXPECT_EQ(convert(source, DType::kF32), source);
}

TEST(Convert, EveryHalfAndBfloat16Widens) {
  const auto halves = read_all<uint32_t>(*convert(rows_of(every_pattern(), 256, DType::kF16), DType::kF32));
  const auto brains = read_all<uint32_t>(*convert(rows_of(every_pattern(), 256, DType::kBF16), DType::kF32));
  for (uint32_t i = 0; i < 65536; ++i) {
    ASSERT_EQ(halves[i], std::bit_cast<uint32_t>(to_float(half_t{uint16_t(i)}))) << i;
    ASSERT_EQ(brains[i], std::bit_cast<uint32_t>(to_float(bfloat16_t{uint16_t(i)}))) << i;
  }
}

// What fits rounds; what would become infinite is refused by its row; what is infinite stays so.
TEST(Convert, WhatF16CannotHoldIsRefused) {
  std::vector<float> values(3 * 100, 1.0f);
  values[150] = 65519.99f;
  values[151] = -std::numeric_limits<float>::infinity();
  const auto halves = read_all<uint16_t>(*convert(rows_of(values, 100, DType::kF32), DType::kF16));
  EXPECT_EQ(halves[150], 0x7bff);
  EXPECT_EQ(halves[151], 0xfc00);
  values[207] = -65520.0f;
  const auto refused = convert(rows_of(values, 100, DType::kF32), DType::kF16);
  EXPECT_EQ(
      test::error_text([&] { read_all<uint16_t>(*refused); }),
      "Row 2 of a matrix of 3 x 100 holds -65520: F16 ends at 65504, so it would become infinite; use --dtype bf16 "
      "or f32.");
}

TEST(Convert, EveryHalfSurvivesTheWayThroughF32) {
  const auto wide = convert(rows_of(every_pattern(), 256, DType::kF16), DType::kF32);
  const auto back = read_all<uint16_t>(*convert(wide, DType::kF16));
  for (uint32_t i = 0; i < 65536; ++i) ASSERT_EQ(back[i], to_half(to_float(half_t{uint16_t(i)})).bits) << i;
}

// Floats of every exponent, ties and their neighbours, infinities and NaNs; odd sizes.
TEST(Convert, NarrowsToNearestEven) {
  std::mt19937 random(test::run_seed());
  std::vector<uint32_t> bits = {0,           0x80000000u, 0x7f800000u, 0xff800000u, 0x7f800001u,
                                0x7fc12345u, 0x477fefffu, 0x477ff000u, 0x33000000u, 0x33000001u};
  for (uint32_t exponent = 0; exponent < 256; ++exponent)
    for (const uint32_t tail : {0u, 0x0fffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0x18000u, 0x7fffffu})
      bits.push_back(exponent << 23 | tail);
  while (bits.size() < 30'000 || bits.size() % 7 != 0) bits.push_back(uint32_t(random()));
  const auto source = rows_of(bits, 7, DType::kF32);
  const auto brains = read_all<uint16_t>(*convert(source, DType::kBF16));
  std::vector<uint32_t> fitting = bits;
  for (uint32_t& value : fitting)
    if (overflows_half(std::bit_cast<float>(value))) value = 0;
  const auto halves = read_all<uint16_t>(*convert(rows_of(fitting, 7, DType::kF32), DType::kF16));
  for (size_t i = 0; i < bits.size(); ++i) {
    ASSERT_EQ(halves[i], to_half(std::bit_cast<float>(fitting[i])).bits) << std::hex << bits[i];
    ASSERT_EQ(brains[i], to_bfloat16(std::bit_cast<float>(bits[i])).bits) << std::hex << bits[i];
  }
}

TEST(Convert, BetweenTheTwo16BitTypes) {
  const auto brains = read_all<uint16_t>(*convert(rows_of(every_pattern(), 64, DType::kF16), DType::kBF16));
  std::vector<uint16_t> fitting = every_pattern();
  for (uint16_t& value : fitting)
    if (overflows_half(to_float(bfloat16_t{value}))) value = 0;
  const auto halves = read_all<uint16_t>(*convert(rows_of(fitting, 64, DType::kBF16), DType::kF16));
  for (uint32_t i = 0; i < 65536; ++i) {
    ASSERT_EQ(brains[i], to_bfloat16(to_float(half_t{uint16_t(i)})).bits) << i;
    ASSERT_EQ(halves[i], to_half(to_float(bfloat16_t{fitting[i]})).bits) << i;
  }
}

// Any range of rows, whatever the row's length: rows longer than the buffer too.
TEST(Convert, RangesOfRows) {
  std::mt19937 random(test::run_seed());
  for (const int64_t columns : {int64_t(1), int64_t(63), int64_t(65), int64_t(200'001)}) {
    const int64_t rows = 5;
    std::vector<float> values(size_t(rows * columns));
    for (float& value : values) value = std::ldexp(float(random() % 2001) - 1000, int(random() % 20) - 10);
    const auto source = convert(rows_of(values, columns, DType::kF32), DType::kBF16);
    for (int64_t begin = 0; begin <= rows; ++begin) {
      for (int64_t end = begin; end <= rows; ++end) {
        std::vector<uint16_t> out(size_t((end - begin) * columns) + 1, 0xabcd);
        source->read_rows(begin, end, out.data());
        for (int64_t i = 0; i < (end - begin) * columns; ++i)
          ASSERT_EQ(out[size_t(i)], to_bfloat16(values[size_t(begin * columns + i)]).bits);
        EXPECT_EQ(out.back(), 0xabcd);
      }
    }
  }
}

}  // namespace
}  // namespace updraft::checkpoint
