#include "measure/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace updraft::measure {
namespace {

// Two-sided 95 % quantile of Student's t; above 30 degrees of freedom 1.96 + 2.4 / degrees is within 0.1 %.
double student_t(double degrees) {
  constexpr double kTable[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                               2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                               2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  const int n = int(degrees);
  if (n < 1) return kTable[0];
  return n <= 30 ? kTable[n - 1] : 1.96 + 2.4 / degrees;
}

double mean_of(const std::vector<double>& x) {
  return x.empty() ? 0 : std::accumulate(x.begin(), x.end(), 0.0) / double(x.size());
}

double variance_of(const std::vector<double>& x) {
  if (x.size() < 2) return 0;
  const double mean = mean_of(x);
  double sum = 0;
  for (double v : x) sum += (v - mean) * (v - mean);
  return sum / double(x.size() - 1);
}

}  // namespace

double percentile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double at = share * double(samples.size() - 1);
  const size_t low = size_t(at), high = std::min(low + 1, samples.size() - 1);
  return samples[low] + (at - double(low)) * (samples[high] - samples[low]);
}

Summary summarize(const std::vector<double>& samples) {
  Summary s;
  s.count = int(samples.size());
  if (samples.empty()) return s;
  s.mean = mean_of(samples);
  s.median = percentile(samples, 0.5);
  s.minimum = *std::min_element(samples.begin(), samples.end());
  s.maximum = *std::max_element(samples.begin(), samples.end());
  s.standard_deviation = std::sqrt(variance_of(samples));
  if (s.count < 2) return s;
  const double half = student_t(s.count - 1) * s.standard_deviation / std::sqrt(double(s.count));
  s.confidence_95 = Interval{s.mean - half, s.mean + half};
  return s;
}

Ratio ratio_of_means(const std::vector<double>& a, const std::vector<double>& b) {
  const double mean_a = mean_of(a), mean_b = mean_of(b);
  if (mean_a <= 0 || mean_b <= 0) return {};
  const double ratio = mean_a / mean_b;
  if (a.size() < 2 || b.size() < 2) return {ratio, {}};
  // Relative variances of the two means; Welch's and Satterthwaite's degrees of freedom.
  const double va = variance_of(a) / double(a.size()) / (mean_a * mean_a);
  const double vb = variance_of(b) / double(b.size()) / (mean_b * mean_b);
  const double total = va + vb;
  if (total <= 0) return {ratio, Interval{ratio, ratio}};
  const double divisor = va * va / double(a.size() - 1) + vb * vb / double(b.size() - 1);
  const double half = student_t(divisor > 0 ? total * total / divisor : 1) * std::sqrt(total);
  return {ratio, Interval{ratio * std::exp(-half), ratio * std::exp(half)}};
}

}  // namespace updraft::measure
