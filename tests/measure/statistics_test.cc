#include "measure/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/random.h"

namespace updraft::measure {
namespace {

// Values of scipy.stats.t.interval(0.95, n - 1, mean, sem) and numpy.
TEST(Statistics, SummaryOfKnownSamples) {
  const Summary s = summarize({4, 8, 15, 16, 23, 42});
  EXPECT_EQ(s.count, 6);
  EXPECT_DOUBLE_EQ(s.mean, 18);
  EXPECT_DOUBLE_EQ(s.median, 15.5);
  EXPECT_DOUBLE_EQ(s.minimum, 4);
  EXPECT_DOUBLE_EQ(s.maximum, 42);
  EXPECT_NEAR(s.standard_deviation, 13.490737563232042, 1e-12);
  EXPECT_NEAR(s.confidence_95.value().low, 18 - 14.1577, 5e-3);  // 2.5706 * 13.4907 / sqrt(6)
  EXPECT_NEAR(s.confidence_95.value().high, 18 + 14.1577, 5e-3);
}

TEST(Statistics, OneSampleHasNoIntervalAndNoneIsZero) {
  const Summary one = summarize({7});
  EXPECT_FALSE(one.confidence_95);
  EXPECT_EQ(one.median, 7);
  EXPECT_EQ(summarize({}).count, 0);
  EXPECT_EQ(summarize({}).mean, 0);
}

TEST(Statistics, PercentilesInterpolate) {
  EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 0), 1);
  EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 1), 4);
  EXPECT_DOUBLE_EQ(percentile({10, 20}, 0.95), 19.5);
  EXPECT_DOUBLE_EQ(percentile({5}, 0.99), 5);
  EXPECT_DOUBLE_EQ(percentile({}, 0.5), 0);
}

TEST(Statistics, RatioOfExactSamplesIsExact) {
  const Ratio r = ratio_of_means({2, 2, 2}, {4, 4});
  EXPECT_DOUBLE_EQ(r.ratio, 0.5);
  EXPECT_DOUBLE_EQ(r.confidence_95.value().low, 0.5);
  EXPECT_DOUBLE_EQ(r.confidence_95.value().high, 0.5);
  EXPECT_EQ(ratio_of_means({}, {1}).ratio, 0);
  EXPECT_EQ(ratio_of_means({1}, {}).ratio, 0);
  EXPECT_EQ(ratio_of_means({1}, {0, 0}).ratio, 0);
}

TEST(Statistics, RatioWithOneSampleOnASideHasNoInterval) {
  for (const auto& [a, b] :
       {std::pair<std::vector<double>, std::vector<double>>{{2}, {4, 5, 6}}, {{2, 3}, {4}}, {{2}, {4}}}) {
    const Ratio r = ratio_of_means(a, b);
    EXPECT_GT(r.ratio, 0);
    EXPECT_FALSE(r.confidence_95);
  }
}

// By hand: relative variances 1/(3*100) each, so half = t(4) * sqrt(2/300) = 2.776 * 0.081650.
TEST(Statistics, RatioOfKnownSamples) {
  const Ratio r = ratio_of_means({9, 10, 11}, {9, 10, 11});
  EXPECT_DOUBLE_EQ(r.ratio, 1);
  EXPECT_NEAR(r.confidence_95.value().low, std::exp(-2.776 * std::sqrt(2.0 / 300)), 1e-9);
  EXPECT_NEAR(r.confidence_95.value().high, std::exp(2.776 * std::sqrt(2.0 / 300)), 1e-9);
}

// An interval that claims 95 % holds the truth in about 95 % of all experiments, with 5 samples as with 40.
TEST(Statistics, IntervalsHoldTheTruthAsOftenAsTheySay) {
  test::Random random(1);
  for (int count : {5, 40}) {
    int mean_held = 0, ratio_held = 0;
    constexpr int kExperiments = 4000;
    for (int i = 0; i < kExperiments; ++i) {
      std::vector<double> a, b;
      for (int k = 0; k < count; ++k) {
        a.push_back(10 + 0.5 * double(random.normal()));
        b.push_back(8 + 0.2 * double(random.normal()));
      }
      const Summary s = summarize(a);
      mean_held += s.confidence_95->low <= 10 && 10 <= s.confidence_95->high;
      const Ratio r = ratio_of_means(a, b);
      ratio_held += r.confidence_95->low <= 1.25 && 1.25 <= r.confidence_95->high;
    }
    EXPECT_NEAR(double(mean_held) / kExperiments, 0.95, 0.02) << count;
    EXPECT_NEAR(double(ratio_held) / kExperiments, 0.95, 0.025) << count;
  }
}

}  // namespace
}  // namespace updraft::measure
