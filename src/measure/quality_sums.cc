#include "measure/quality_sums.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "session/json_values.h"

namespace updraft::measure {
namespace {

constexpr int kBinsPerOctave = 64;
constexpr double kSmallest = 0x1p-60;                 // everything below falls in one bin
constexpr int64_t kMostBins = 1024 * kBinsPerOctave;  // no divergence that a double holds lies beyond

struct Distribution {
  double log_total = 0;  // log sum exp
  size_t best = 0;
};

size_t index_of_largest(std::span<const float> logits) {
  return size_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Distribution distribution(std::span<const float> logits) {
  Distribution d;
  d.best = index_of_largest(logits);
  const double largest = logits[d.best];
  double total = 0;
  for (const float logit : logits) total += std::exp(double(logit) - largest);
  d.log_total = largest + std::log(total);
  return d;
}

}  // namespace

RowScore score_row(std::span<const float> logits, int32_t target) {
  CHECK(target >= 0 && size_t(target) < logits.size()) << target;
  return {.nll = distribution(logits).log_total - double(logits[size_t(target)])};
}

RowScore score_row(std::span<const float> logits, std::span<const float> reference, int32_t target) {
  CHECK(logits.size() == reference.size()) << logits.size() << " and " << reference.size();
  CHECK(target >= 0 && size_t(target) < logits.size()) << target;
  const Distribution model = distribution(logits);
  const size_t best = index_of_largest(reference);
  const double largest = reference[best];
  double total = 0, weighted = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double p = std::exp(double(reference[i]) - largest);
    total += p;
    weighted += p * (double(reference[i]) - double(logits[i]));
  }
  const double log_total = largest + std::log(total);
  RowScore score;
  score.nll = model.log_total - double(logits[size_t(target)]);
  score.reference_nll = log_total - double(reference[size_t(target)]);
  score.divergence = weighted / total - log_total + model.log_total;
  if (score.divergence < 0) score.divergence = 0;  // rounding may leave a hair
  score.agrees = model.best == best;
  return score;
}

void QualitySums::add(const RowScore& score, int64_t bytes) {
  CHECK(std::isfinite(score.nll) && std::isfinite(score.divergence)) << score.nll << ' ' << score.divergence;
  ++tokens_;
  bytes_ += bytes;
  nll_.add(score.nll);
  reference_nll_.add(score.reference_nll);
  difference_.add(score.nll - score.reference_nll);
  divergence_.add(score.divergence);
  agreeing_ += score.agrees ? 1 : 0;
  largest_ = std::max(largest_, score.divergence);
  ++histogram_[int(std::floor(kBinsPerOctave * std::log2(std::max(score.divergence, kSmallest))))];
}

Mean QualitySums::mean(const Moments& m) const {
  if (tokens_ == 0) return {};
  const double n = double(tokens_), value = m.sum / n;
  if (tokens_ == 1) return {value, 0};
  return {value, std::sqrt(std::max(0.0, m.squares / n - value * value) / (n - 1))};
}

Mean QualitySums::agreement() const {
  // Squares of zeros and ones are themselves.
  return mean({double(agreeing_), double(agreeing_)});
}

double QualitySums::divergence_percentile(double share) const {
  double below = 0;
  for (const auto& [bin, count] : histogram_) {
    below += double(count);
    if (below >= share * double(tokens_))
      return std::min(largest_, std::exp2((bin + 0.5) / kBinsPerOctave));  // the middle of the bin
  }
  return largest_;
}

nlohmann::ordered_json QualitySums::state() const {
  const auto pair = [](const Moments& m) { return nlohmann::ordered_json{m.sum, m.squares}; };
  nlohmann::ordered_json histogram = nlohmann::ordered_json::array();
  for (const auto& [bin, count] : histogram_) histogram.push_back({bin, count});
  return {{"tokens", tokens_},
          {"bytes", bytes_},
          {"agreeing", agreeing_},
          {"nll", pair(nll_)},
          {"reference_nll", pair(reference_nll_)},
          {"nll_difference", pair(difference_)},
          {"divergence", pair(divergence_)},
          {"largest_divergence", largest_},
          {"divergence_histogram", histogram}};
}

QualitySums QualitySums::from_state(const nlohmann::ordered_json& state) {
  const auto moments = [&](const char* key) {
    return Moments{state.at(key).at(0).get<double>(), state.at(key).at(1).get<double>()};
  };
  const auto count = [](const char* name, const nlohmann::ordered_json& value) {
    return session::integer_value(name, value, 0, int64_t(1) << 53);
  };
  QualitySums sums;
  sums.tokens_ = count("tokens", state.at("tokens"));
  sums.bytes_ = count("bytes", state.at("bytes"));
  sums.agreeing_ = count("agreeing", state.at("agreeing"));
  sums.nll_ = moments("nll");
  sums.reference_nll_ = moments("reference_nll");
  sums.difference_ = moments("nll_difference");
  sums.divergence_ = moments("divergence");
  sums.largest_ = state.at("largest_divergence").get<double>();
  for (const auto& bin : state.at("divergence_histogram")) {
    const int64_t place = session::integer_value("divergence_histogram", bin.at(0), -kMostBins, kMostBins);
    sums.histogram_[int(place)] = count("divergence_histogram", bin.at(1));
  }
  if (sums.agreeing_ > sums.tokens_) fail("its sums hold {} tokens, of which {} agree", sums.tokens_, sums.agreeing_);
  double divergences = 0;  // in doubles: whole numbers could overflow
  for (const auto& [bin, number] : sums.histogram_) divergences += double(number);
  if (divergences != double(sums.tokens_))
    fail("its sums hold {} tokens and {} divergences", sums.tokens_, divergences);
  return sums;
}

}  // namespace updraft::measure
