// quantize_row and dequantize_row against their formulas in double precision, on random rows with short last groups.
#include "base/quantized_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "tests/support/random.h"

namespace updraft {
namespace {

struct Rows final : RowSource {
  Rows(int64_t rows, int64_t columns, std::vector<float> values)
      : RowSource(rows, columns, DType::kF32), values_(std::move(values)) {}
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::copy(values_.begin() + begin * columns(), values_.begin() + end * columns(), static_cast<float*>(out));
  }
  std::vector<float> values_;
};

std::vector<QuantizedFormat> formats() {
  std::vector<QuantizedFormat> all;
  for (int bits : {4, 8})
    for (int group : {32, 128})
      for (Offset offset : {Offset::kNone, Offset::kMinimum, Offset::kPoint})
        for (DType type : {DType::kF16, DType::kBF16}) all.push_back({bits, group, offset, type});
  return all;
}

TEST(QuantizedRows, DequantizedValuesAreWithinAStepOfTheSource) {
  std::mt19937 random(test::run_seed());
  std::normal_distribution<float> normal(0, 0.05f);
  for (const QuantizedFormat& format : formats())
    for (int64_t columns : {1, 31, 32, 128, 576, 300}) {
      std::vector<float> values(size_t(3 * columns));
      for (float& value : values) value = normal(random);
      std::fill_n(values.begin(), std::min<int64_t>(columns, 40), 0.0f);  // a group of zeros
      const auto rounded = quantize(std::make_shared<Rows>(3, columns, values), format);
      std::vector<float> back(values.size());
      rounded->read_rows(0, 3, back.data());
      for (int64_t row = 0; row < 3; ++row)
        for (int64_t k = 0; k < columns; ++k) {
          const int64_t begin = k / format.group * format.group, end = std::min(columns, begin + format.group);
          const auto [low, high] =
              std::minmax_element(values.begin() + row * columns + begin, values.begin() + row * columns + end);
          const double span = std::max(*high, 0.0f) - std::min(*low, 0.0f);
          const double largest = std::max(std::fabs(*low), std::fabs(*high));
          const double step =
              format.offset == Offset::kNone ? largest / (format.bits == 8 ? 127 : 7.5) : span / format.largest();
          // Half a step, the rounding of scale and offset, and at 4 bits the clipped end of a symmetric range.
          const double slack = (format.scale_type == DType::kF16 ? 0x1p-10 : 0x1p-7) * (span + largest) + 1e-6;
          const double bound = step * (format.offset == Offset::kNone && format.bits == 8 ? 0.5 : 1.0) + slack;
          const size_t i = size_t(row * columns + k);
          ASSERT_LE(std::fabs(double(back[i]) - values[i]), bound) << name(format) << " column " << k;
        }
    }
}

TEST(QuantizedRows, ReadingInPiecesGivesTheSameIntegers) {
  const QuantizedFormat format{4, 32, Offset::kMinimum, DType::kF16};
  const int64_t rows = 5, columns = 100, groups = format.groups(columns);
  std::mt19937 random(7);
  std::vector<float> values(size_t(rows * columns));
  for (float& value : values) value = float(random() % 2000) / 1000 - 1;
  const auto rounded = quantize(std::make_shared<Rows>(rows, columns, values), format);
  std::vector<uint8_t> whole(values.size()), pieces(values.size());
  std::vector<uint16_t> scales(size_t(rows * groups)), offsets(scales), scales2(scales), offsets2(scales);
  rounded->read_quantized(0, rows, {whole.data(), scales.data(), offsets.data()});
  for (int64_t row : {4, 0, 2, 1, 3})
    rounded->read_quantized(
        row, row + 1, {pieces.data() + row * columns, scales2.data() + row * groups, offsets2.data() + row * groups});
  EXPECT_EQ(whole, pieces);
  EXPECT_EQ(scales, scales2);
  EXPECT_EQ(offsets, offsets2);
  EXPECT_LE(*std::max_element(whole.begin(), whole.end()), 15);
}

TEST(QuantizedRows, FormulasAreTheDocumentedOnes) {
  const uint8_t u[] = {0, 7, 15};
  const uint16_t scale[] = {to_half(0.25f).bits}, minimum[] = {to_half(-1.5f).bits}, point[] = {to_half(3.0f).bits};
  float out[3];
  dequantize_row(u, scale, nullptr, 3, {4, 32, Offset::kNone, DType::kF16}, out);
  EXPECT_EQ(std::vector<float>(out, out + 3), (std::vector<float>{-2.0f, -0.25f, 1.75f}));
  dequantize_row(u, scale, minimum, 3, {4, 32, Offset::kMinimum, DType::kF16}, out);
  EXPECT_EQ(std::vector<float>(out, out + 3), (std::vector<float>{-1.5f, 0.25f, 2.25f}));
  dequantize_row(u, scale, point, 3, {4, 32, Offset::kPoint, DType::kF16}, out);
  EXPECT_EQ(std::vector<float>(out, out + 3), (std::vector<float>{-0.75f, 1.0f, 3.0f}));
}

TEST(QuantizedRows, AWiderFormatHoldsTheSameValues) {
  test::Random random(50);
  int64_t widened = 0;
  for (const QuantizedFormat& from : formats())
    for (const QuantizedFormat& to : formats()) {
      const int64_t rows = 3, columns = random.integer(1, 300);
      std::vector<float> values(size_t(rows * columns));
      for (float& value : values) value = random.normal();
      const auto source = quantize(std::make_shared<Rows>(rows, columns, values), from);
      const auto wide = widen(source, to);
      const bool fits = to.bits >= from.bits && to.group <= from.group && to.scale_type == from.scale_type &&
                        (to.offset == from.offset || from.offset == Offset::kNone);
      ASSERT_EQ(wide != nullptr, fits) << name(from) << " to " << name(to);
      if (!fits) continue;
      ++widened;
      EXPECT_EQ(wide->format(), to);
      std::vector<float> want(values.size()), got(values.size());
      source->read_rows(0, rows, want.data());
      wide->read_rows(0, 1, got.data());
      wide->read_rows(1, rows, got.data() + columns);
      ASSERT_EQ(got, want) << name(from) << " to " << name(to) << ", " << columns << " columns";
    }
  EXPECT_GT(widened, 30);
}

TEST(QuantizedRows, WhatIsNoNumberOrTooLargeIsAnErrorThatSaysWhere) {
  for (const QuantizedFormat& format : formats())
    for (float bad : {NAN, INFINITY, -INFINITY, 3e38f}) {
      std::vector<float> values(size_t(2 * 200), 0.5f);
      values[333] = bad;
      const auto source = quantize(std::make_shared<Rows>(2, 200, values), format);
      std::vector<float> out(values.size());
      if (bad == 3e38f && format.scale_type == DType::kBF16) continue;  // that has the range of F32
      try {
        source->read_rows(0, 2, out.data());
        FAIL() << bad << " as " << name(format);
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("Row 1 "), std::string::npos) << error.what();
      }
    }
}

TEST(QuantizedRows, Names) {
  EXPECT_EQ(name(QuantizedFormat{}), "int8");
  EXPECT_EQ(name(QuantizedFormat{4, 32, Offset::kMinimum, DType::kF16}), "int4-g32-asym");
}

}  // namespace
}  // namespace updraft
