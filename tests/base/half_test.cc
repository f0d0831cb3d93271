#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace updraft {
namespace {

TEST(Half, EveryValueSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = to_float(half_t{uint16_t(bits)});
    if (std::isnan(value)) continue;
    EXPECT_EQ(to_half(value).bits, bits) << value;
  }
}

TEST(Half, RoundsToNearestEvenBetweenNeighbours) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const double low = to_float(half_t{uint16_t(bits)}), high = to_float(half_t{uint16_t(bits + 1)});
    const float middle = float((low + high) / 2);
    EXPECT_EQ(to_half(middle).bits, bits + (bits & 1)) << middle;
    EXPECT_EQ(to_half(std::nextafter(middle, 0.0f)).bits, bits);
    EXPECT_EQ(to_half(std::nextafter(middle, 1e9f)).bits, bits + 1);
  }
  EXPECT_EQ(to_half(65519.99f).bits, 0x7bff);
  EXPECT_EQ(to_half(65520.0f).bits, 0x7c00);
}

TEST(Bfloat16, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7f7f; ++bits) {
    const uint32_t low = bits << 16;
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(low)).bits, bits);
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(low + 0x7fff)).bits, bits);
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(low + 0x8000)).bits, bits + (bits & 1));
    EXPECT_EQ(to_bfloat16(std::bit_cast<float>(low + 0x8001)).bits, bits + 1);
  }
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::nanf("")))));
}

}  // namespace
}  // namespace updraft
