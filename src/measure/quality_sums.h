// What a row of logits is worth: the likelihood of the token that came, and how far the distribution is from another
// one. QualitySums adds rows up in constant memory and can be written to a file and read back, bit for bit.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

namespace updraft::measure {

// One position against the token that follows it; natural logarithms, computed in double precision.
struct RowScore {
  double nll = 0;            // -log p(target)
  double reference_nll = 0;  // the three below: against a reference only
  double divergence = 0;     // KL(reference || model) = sum p_ref (log p_ref - log p)
  bool agrees = false;       // both find the same token the most likely (the first of equals)
};
RowScore score_row(std::span<const float> logits, int32_t target);
RowScore score_row(std::span<const float> logits, std::span<const float> reference, int32_t target);

// A mean with the standard error of independent samples (tokens of one text are not quite that).
struct Mean {
  double value = 0, standard_error = 0;
};

class QualitySums {
 public:
  // bytes: what the target adds to the text. The score must be finite.
  void add(const RowScore&, int64_t bytes);

  int64_t tokens() const { return tokens_; }
  int64_t bytes() const { return bytes_; }
  Mean nll() const { return mean(nll_); }
  Mean reference_nll() const { return mean(reference_nll_); }
  Mean nll_difference() const { return mean(difference_); }  // model minus reference, paired by token
  Mean divergence() const { return mean(divergence_); }
  Mean agreement() const;
  // The divergence below which `share` of the positions lie, to 0.6 %.
  double divergence_percentile(double share) const;
  double largest_divergence() const { return largest_; }

  nlohmann::ordered_json state() const;
  // Throws nlohmann's exception, or Error for numbers that cannot be: a part of a sentence about the file.
  static QualitySums from_state(const nlohmann::ordered_json&);

 private:
  struct Moments {
    double sum = 0, squares = 0;
    void add(double x) { sum += x, squares += x * x; }
  };
  Mean mean(const Moments&) const;

  int64_t tokens_ = 0, bytes_ = 0, agreeing_ = 0;
  Moments nll_, reference_nll_, difference_, divergence_;
  double largest_ = 0;
  std::map<int, int64_t> histogram_;  // of divergences: floor(64 log2), at least kSmallest
};

}  // namespace updraft::measure
