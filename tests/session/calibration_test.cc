// Calibration from inside: it tells how far it is in small pieces, and ends where telling throws. What it is worth is
// tested from outside (tests/cli/quantize_test.py).
#include "session/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "tests/support/error_text.h"
#include "tests/support/temporary_folder.h"

namespace updraft::session {
namespace {

constexpr int kLayers = 2, kWindows = 4, kWindow = 32;

class CalibrationTest : public testing::Test {
 protected:
  void quantize(const std::function<void(double fraction)>& tell) const {
    const auto model = make_synthetic(checkpoint::parse_synthetic(
        "qwen2-0.5b:hidden=128,intermediate=192,layers=2,vocabulary=300,heads=4,kv_heads=2,head_dim=32"));
    std::vector<int32_t> ids(kWindows * kWindow);
    std::iota(ids.begin(), ids.end(), 0);
    const auto quantizer = make_calibrated_quantizer(*model, checkpoint::plan_quantization(*model, {}),
                                                     compute::make_machine("cpu", {}), {}, ids, kWindow, 2, tell);
    quantize_folder(*model, place_.path() / "out", {}, *quantizer, {});
  }

  const test::TemporaryFolder place_;
};

TEST_F(CalibrationTest, TellsHowFarItIsInSmallPieces) {
  std::vector<double> told = {0};
  quantize([&](double fraction) { told.push_back(fraction); });
  // Seven verbs and products of each window in both passes, the last layer's second left out; 192 columns and more.
  EXPECT_GE(told.size(), size_t(7 * kWindows * kLayers + 4 * kWindows * (kLayers - 1) + kLayers * 4 * 128));
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_NEAR(told.back(), 1, 1e-9);
  double widest = 0;
  for (size_t i = 1; i < told.size(); ++i) widest = std::max(widest, told[i] - told[i - 1]);
  EXPECT_LT(widest, 0.15);  // a matrix, where the other thread took all of its pieces
}

TEST_F(CalibrationTest, EndsWhereTellingThrowsAndLeavesNothing) {
  for (double end = 0; end < 1; end += 0.03) {
    const auto stop = [&](double fraction) {
      if (fraction >= end) fail("enough");
    };
    EXPECT_EQ(test::error_text([&] { quantize(stop); }), "enough") << end;
    EXPECT_TRUE(std::filesystem::is_empty(place_.path()));
  }
}

}  // namespace
}  // namespace updraft::session
