// Small statistics for benchmarks: medians, percentiles, mean with a 95 % confidence interval (Student's t).
#pragma once

#include <optional>
#include <vector>

namespace updraft::measure {

struct Interval {
  double low = 0, high = 0;
};

struct Summary {
  int count = 0;
  double mean = 0, median = 0, minimum = 0, maximum = 0;
  double standard_deviation = 0;          // of the samples (n - 1)
  std::optional<Interval> confidence_95;  // of the mean; none for fewer than two samples: one says nothing of spread
};
Summary summarize(const std::vector<double>& samples);

// Linear interpolation between order statistics; share in [0, 1]. 0 for no samples.
double percentile(std::vector<double> samples, double share);

// mean(a) / mean(b) with its 95 % confidence interval (Welch on the logarithm, by the delta method). 0 when either is
// empty; no interval where either has fewer than two samples.
struct Ratio {
  double ratio = 0;
  std::optional<Interval> confidence_95;
};
Ratio ratio_of_means(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace updraft::measure
