// exp, silu and dot: error bounds measured over dense sweeps against long double, special values, and the same bits on
// every instruction set (between those of this processor by comparison, between architectures by a hash).
#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "compute/cpu/kernels.h"
#include "tests/compute/emulated.h"
#include "tests/compute/hash.h"
#include "tests/support/random.h"

namespace updraft::compute::cpu {
namespace {

// Every float between `from` and `to` (same sign) whose bits are `stride` apart.
std::vector<float> sweep(float from, float to, uint32_t stride) {
  std::vector<float> values;
  const uint32_t a = std::bit_cast<uint32_t>(from), b = std::bit_cast<uint32_t>(to);
  for (uint64_t bits = std::min(a, b); bits <= std::max(a, b); bits += stride)
    values.push_back(std::bit_cast<float>(uint32_t(bits)));
  return values;
}

constexpr uint32_t kStride = kEmulated ? 16411 : 131;

// |got - exact| in units of the last place of the float nearest to exact.
double ulps(float got, long double exact) {
  const float nearest = float(exact);
  if (std::isinf(nearest)) return got == nearest ? 0 : INFINITY;
  const int exponent = std::max(std::ilogb(nearest == 0 ? std::numeric_limits<float>::denorm_min() : nearest), -126);
  return double(std::fabs((long double)(got)-exact) / std::ldexp(1.0L, exponent - 23));
}

TEST(VectorMath, ExpIsWithinOneUlp) {
  for (const Kernels* kernels : available_kernels()) {
    double worst = 0;
    for (const auto& [from, to] : {std::pair(1e-8f, 88.8f), std::pair(-1e-8f, -104.5f)}) {
      const std::vector<float> x = sweep(from, to, kStride);
      std::vector<float> y(x.size());
      kernels->vector.exp(x.data(), int64_t(x.size()), y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double error = ulps(y[i], std::exp((long double)(x[i])));
        if (error > worst) worst = error;
        ASSERT_LE(error, 1.0) << kernels->name << " " << x[i];
      }
    }
    RecordProperty("exp_ulps", std::to_string(worst));
    printf("exp, %s: at most %.3f ulp\n", kernels->name, worst);
  }
}

TEST(VectorMath, ExpOfSpecialValues) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> x = {0.0f,  -0.0f, infinity, -infinity, NAN,      -NAN,
                                  89.0f, 1e30f, -104.0f,  -1e30f,    88.72283f};
    std::vector<float> y(x.size());
    kernels->vector.exp(x.data(), int64_t(x.size()), y.data());
    EXPECT_EQ(y[0], 1.0f);
    EXPECT_EQ(y[1], 1.0f);
    EXPECT_EQ(y[2], infinity);
    EXPECT_EQ(std::bit_cast<uint32_t>(y[3]), 0u);
    EXPECT_TRUE(std::isnan(y[4]) && std::isnan(y[5]));
    EXPECT_EQ(y[6], infinity);
    EXPECT_EQ(y[7], infinity);
    EXPECT_EQ(std::bit_cast<uint32_t>(y[8]), 0u);
    EXPECT_EQ(std::bit_cast<uint32_t>(y[9]), 0u);
    EXPECT_TRUE(std::isfinite(y[10])) << y[10];
  }
}

// What attention hides enters exp as -inf. An underflow there would be handled by the processor's microcode, 60 times
// as slow as the rest of exp.
TEST(VectorMath, ExpOfWhatIsHiddenUnderflowsNowhere) {
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> x(48, -std::numeric_limits<float>::infinity()), y(x.size());
    x[1] = 0, x[20] = -105, x[35] = -1e30f;
    std::feclearexcept(FE_ALL_EXCEPT);
    kernels->vector.exp(x.data(), int64_t(x.size()), y.data());
    EXPECT_EQ(std::fetestexcept(FE_UNDERFLOW), 0) << kernels->name;
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(std::bit_cast<uint32_t>(y[i]), i == 1 ? 0x3f800000u : 0u) << i;
  }
}

TEST(VectorMath, SiluIsWithinThreeUlps) {
  for (const Kernels* kernels : available_kernels()) {
    double worst = 0;
    // Beyond -87 e^-x overflows and silu becomes -0: off by less than 1e-36.
    for (const auto& [from, to] : {std::pair(1e-8f, 1e4f), std::pair(-1e-8f, -87.0f)}) {
      const std::vector<float> x = sweep(from, to, kStride);
      std::vector<float> y(x.size());
      kernels->vector.silu(x.data(), int64_t(x.size()), y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const long double exact = (long double)(x[i]) / (1 + std::exp(-(long double)(x[i])));
        worst = std::max(worst, ulps(y[i], exact));
        ASSERT_LE(ulps(y[i], exact), 3.0) << kernels->name << " " << x[i];
      }
    }
    printf("silu, %s: at most %.3f ulp\n", kernels->name, worst);
    const std::vector<float> x = {0.0f, -100.0f, -1e30f, NAN};
    std::vector<float> y(x.size());
    kernels->vector.silu(x.data(), int64_t(x.size()), y.data());
    EXPECT_EQ(y[0], 0.0f);
    EXPECT_EQ(y[1], 0.0f);
    EXPECT_EQ(y[2], 0.0f);
    EXPECT_TRUE(std::isnan(y[3]));
  }
}

TEST(VectorMath, DotIsSixteenPartialSumsAndOneTree) {
  std::mt19937 random(test::run_seed());
  for (int64_t n : {0, 1, 15, 16, 17, 100, 1000}) {
    std::vector<float> a(static_cast<size_t>(n)), b(a.size());
    for (float& x : a) x = float(int32_t(random())) * 0x1p-31f;
    for (float& x : b) x = float(int32_t(random())) * 0x1p-31f;
    float partial[16] = {};
    for (size_t i = 0; i < a.size(); ++i) partial[i % 16] = std::fmaf(a[i], b[i], partial[i % 16]);
    for (int width = 8; width >= 1; width /= 2)
      for (int i = 0; i < width; ++i) partial[i] += partial[i + width];
    for (const Kernels* kernels : available_kernels())
      EXPECT_EQ(kernels->vector.dot(a.data(), b.data(), n), partial[0]) << n;
  }
}

// The constants were made on AVX-512; AVX2 and NEON (under qemu) give the same.
TEST(VectorMath, SameBitsOnEveryArchitecture) {
  for (const Kernels* kernels : available_kernels()) {
    for (const auto& [function, hash] : {std::pair(kernels->vector.exp, uint64_t{1244515341692919051u}),
                                         {kernels->vector.silu, uint64_t{11305730835057872078u}}}) {
      Hash all;
      for (const auto& [from, to] : {std::pair(0.0f, 100.0f), std::pair(-0.0f, -120.0f)}) {
        const std::vector<float> x = sweep(from, to, 4099);
        std::vector<float> y(x.size());
        function(x.data(), int64_t(x.size()), y.data());
        all.add(y);
      }
      EXPECT_EQ(all.value, hash) << kernels->name;
    }
  }
}

}  // namespace
}  // namespace updraft::compute::cpu
