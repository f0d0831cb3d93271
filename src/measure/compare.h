// Comparing two run records: speed ratios with 95 % confidence intervals, from the raw samples of both.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace updraft::measure {

struct ComparedFigure {
  std::string what;     // "code: tokens_per_second", "decode depth 0 batch 4: tokens/s"
  double a = 0, b = 0;  // means
  double ratio = 0;     // b / a: above 1, b is faster
  double low_95 = 0, high_95 = 0;
};

struct Comparison {
  std::vector<ComparedFigure> figures;
  std::vector<std::string> differences;  // what else is not the same: model, machine, numerics key, prompts, logits
};

// Only what both records measured the same way is compared. Throws Error when there is nothing.
Comparison compare_records(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b);
std::string comparison_text(const Comparison&);
// A regression: b is slower than `threshold` times a with 95 % confidence, in at least one figure.
bool has_regression(const Comparison&, double threshold);

}  // namespace updraft::measure
