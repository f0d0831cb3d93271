// Comparing two run records: speed ratios with 95 % confidence intervals, from the raw samples of both.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "measure/report.h"
#include "measure/statistics.h"

namespace updraft::measure {

struct ComparedFigure {
  std::string what, what_zh;              // "code: tokens/s", "decode at depth 0, batch 4: tokens/s"
  double a = 0, b = 0;                    // means
  double ratio = 0;                       // b / a: above 1, b is faster
  std::optional<Interval> confidence_95;  // of the ratio; none where a or b is one sample
};

struct Comparison {
  std::vector<ComparedFigure> figures;
  std::vector<std::string> differences;  // what else is not the same: model, machine, protocol, depth fill, logits
};

// Only what both records measured the same way is compared. Throws Error when there is nothing.
Comparison compare_records(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b);
std::string comparison_text(const Comparison&, Language);
// {"figures": [{"what", "a", "b", "ratio", "confidence_95": [low, high] | null, "verdict": "faster" | "slower" |
//   "no difference shown" | "one sample"}, ...], "differences": [...]}
nlohmann::ordered_json comparison_json(const Comparison&);
// A regression: b is slower than `threshold` times a with 95 % confidence, in at least one figure. One sample proves
// none.
bool has_regression(const Comparison&, double threshold);

}  // namespace updraft::measure
