// The one sampler: against transformers' processors (goldens), against a naive version of the same rules on larger
// vocabularies with ties, and its draws against the distribution they are drawn from.
#include "compute/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/support/goldens.h"
#include "tests/support/random.h"

namespace updraft::compute {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

std::vector<float> scores_of(const nlohmann::json& values) {
  std::vector<float> result;
  for (const auto& value : values) result.push_back(value.is_null() ? kForbidden : value.get<float>());
  return result;
}

std::vector<float> processed(std::span<const float> logits, const SampleRules& rules) {
  SamplingScratch scratch;
  std::vector<float> out(logits.size());
  process_scores(logits, rules, scratch, out);
  return out;
}

std::vector<SampleRules::Seen> seen_ids(const std::vector<int32_t>& ids) {
  std::map<int32_t, int32_t> counts;
  for (int32_t id : ids) ++counts[id];
  std::vector<SampleRules::Seen> seen;
  for (const auto& [id, count] : counts) seen.push_back({id, count});
  return seen;
}

std::vector<float> sorted(std::vector<float> values) {
  std::sort(values.begin(), values.end());
  return values;
}

float smallest_kept(std::span<const float> scores) {
  float smallest = INFINITY;
  for (float x : scores) smallest = x > kForbidden ? std::min(smallest, x) : smallest;
  return smallest;
}

// The processors of transformers that need nothing but the scores and the set of ids seen. The rest arrive as masks and
// biases, which tests/engine checks with the same file.
TEST(GoldenSampling, ScoreProcessorsEqualTransformers) {
  const auto path = test::find_golden("sampling/processors.jsonl");
  if (path.empty()) GTEST_SKIP() << "no golden sampling/processors.jsonl";
  const std::map<std::string, float SampleRules::*> numbers = {
      {"temperature", &SampleRules::temperature},
      {"top_p", &SampleRules::top_p},
      {"min_p", &SampleRules::min_p},
      {"typical_p", &SampleRules::typical_p},
      {"epsilon_cutoff", &SampleRules::epsilon_cutoff},
      {"eta_cutoff", &SampleRules::eta_cutoff},
      {"repetition_penalty", &SampleRules::repetition_penalty}};
  std::ifstream file(path);
  std::string line;
  int compared = 0;
  while (std::getline(file, line)) {
    const nlohmann::json golden = nlohmann::json::parse(line);
    SampleRules rules;
    bool pure = true;
    for (const auto& [key, value] : golden.at("params").items()) {
      if (key == "top_k")
        rules.top_k = value;
      else if (const auto number = numbers.find(key); number != numbers.end())
        rules.*number->second = value;
      else
        pure = false;
    }
    if (!pure) continue;
    const auto seen = seen_ids(golden.at("input_ids"));
    rules.seen = seen;
    const std::vector<float> want = scores_of(golden.at("out")), got = processed(scores_of(golden.at("scores")), rules);
    // torch's sort is not stable, so which of several equal scores top_p cuts is chance there: their number must agree.
    EXPECT_EQ(sorted(got), sorted(want)) << golden.at("name") << " " << golden.at("params");
    const float last_kept = smallest_kept(want);
    for (size_t id = 0; id < want.size(); ++id)
      if (want[id] > last_kept || rules.top_p >= 1) {
        EXPECT_EQ(got[id], want[id]) << golden.at("name") << " " << golden.at("params") << ", id " << id;
      }
    ++compared;
  }
  EXPECT_GE(compared, 50);
}

// The same rules as transformers writes them: whole sorts, whole softmaxes, in the order of generate().
class Naive {
 public:
  Naive(std::vector<float> scores, const SampleRules& rules) : s_(std::move(scores)) {
    for (const auto& bias : rules.biases) s_[size_t(bias.id)] += bias.value;
    for (const auto& seen : rules.seen) {
      float& x = s_[size_t(seen.id)];
      x = x < 0 ? x * rules.repetition_penalty : x / rules.repetition_penalty;
    }
    for (const auto& seen : rules.seen)
      if (seen.generated > 0)
        s_[size_t(seen.id)] -= rules.presence_penalty + rules.frequency_penalty * float(seen.generated);
    if (rules.temperature <= 0) return;
    for (float& x : s_) x /= rules.temperature;
    if (rules.top_k > 0) top_k(size_t(rules.top_k));
    if (rules.top_p < 1) top_p(double(rules.top_p));
    if (rules.min_p > 0) min_p(double(rules.min_p));
    if (rules.typical_p < 1) typical(double(rules.typical_p));
    if (rules.epsilon_cutoff > 0) cut(double(rules.epsilon_cutoff));
    if (rules.eta_cutoff > 0)
      cut(std::min(double(rules.eta_cutoff), std::sqrt(double(rules.eta_cutoff)) * std::exp(-entropy())));
  }
  const std::vector<float>& scores() const { return s_; }

  std::vector<double> softmax() const {
    const double top = double(*std::max_element(s_.begin(), s_.end()));
    std::vector<double> p;
    double total = 0;
    for (float x : s_) total += p.emplace_back(std::exp(double(x) - top));
    for (double& x : p) x /= total;
    return p;
  }

 private:
  double entropy() const {
    double sum = 0;
    for (double p : softmax()) sum -= p > 0 ? p * std::log(p) : 0;
    return sum;
  }
  void top_k(size_t k) {
    std::vector<float> sorted = s_;
    std::sort(sorted.rbegin(), sorted.rend());
    const float limit = sorted[std::min(k, sorted.size()) - 1];
    for (float& x : s_) x = x < limit ? kForbidden : x;
  }
  void top_p(double mass) {
    const std::vector<double> p = softmax();
    std::vector<size_t> order(s_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return s_[a] < s_[b]; });
    double sum = 0;
    for (size_t i = 0; i + 1 < order.size(); ++i)
      if ((sum += p[order[i]]) <= 1 - mass) s_[order[i]] = kForbidden;
  }
  void min_p(double share) {
    const std::vector<double> p = softmax();
    const double limit = share * *std::max_element(p.begin(), p.end());
    for (size_t i = 0; i < p.size(); ++i) s_[i] = p[i] < limit ? kForbidden : s_[i];
  }
  void typical(double mass) {
    const std::vector<double> p = softmax();
    const double h = entropy();
    std::vector<size_t> order(s_.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto distance = [&](size_t i) { return p[i] > 0 ? std::abs(-std::log(p[i]) - h) : INFINITY; };
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return distance(a) < distance(b); });
    double sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < order.size(); ++i) last += (sum += p[order[i]]) < mass ? 1 : 0;
    const double limit = distance(order[std::min(last, order.size() - 1)]);
    for (size_t i = 1; i < order.size(); ++i)
      if (distance(order[i]) > limit) s_[order[i]] = kForbidden;
  }
  void cut(double limit) {
    const std::vector<double> p = softmax();
    const float top = *std::max_element(s_.begin(), s_.end());
    for (size_t i = 0; i < p.size(); ++i)
      if (p[i] < limit && s_[i] < top) s_[i] = kForbidden;
  }
  std::vector<float> s_;
};

TEST(Sampling, EqualsANaiveVersionOfTheRulesOnLargeVocabularies) {
  test::Random random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> logits(static_cast<size_t>(random.integer(1, 3000)));
    const double spread = random.chance(0.5) ? 1 : 5;
    for (float& x : logits) x = float(random.normal() * spread);
    if (random.chance(0.3))
      for (float& x : logits) x = std::round(x * 4) / 4;  // many ties
    SampleRules rules;
    const auto maybe = [&](float value, float off) { return random.chance(0.4) ? value : off; };
    rules.temperature = random.chance(0.1) ? 0 : float(0.3 + random.real());
    rules.top_k = random.chance(0.4) ? int32_t(random.integer(1, 200)) : 0;
    rules.top_p = maybe(float(random.real()), 1);
    rules.min_p = maybe(float(random.real() * 0.2), 0);
    rules.typical_p = maybe(float(random.real()), 1);
    rules.epsilon_cutoff = maybe(float(random.real() * 0.01), 0);
    rules.eta_cutoff = maybe(float(random.real() * 0.01), 0);
    rules.repetition_penalty = maybe(1.3f, 1);
    rules.presence_penalty = maybe(0.5f, 0);
    rules.frequency_penalty = maybe(0.25f, 0);
    std::map<int32_t, int32_t> chosen;
    for (int i = 0; i < 20; ++i)
      chosen[int32_t(random.integer(0, int64_t(logits.size()) - 1))] = int32_t(random.integer(0, 3));
    std::vector<SampleRules::Seen> seen;
    std::vector<SampleRules::Bias> biases;
    for (const auto& [id, count] : chosen) {
      seen.push_back({id, count});
      if (random.chance(0.3)) biases.push_back({id, random.chance(0.2) ? kForbidden : random.normal()});
    }
    rules.seen = seen;
    rules.biases = biases;
    const std::vector<float> got = processed(logits, rules);
    const std::vector<float> want = Naive(logits, rules).scores();
    int different = 0;
    for (size_t i = 0; i < got.size(); ++i) different += got[i] == want[i] ? 0 : 1;
    EXPECT_EQ(different, 0) << "round " << round << ", vocabulary " << logits.size() << ", top_k " << rules.top_k
                            << ", top_p " << rules.top_p << ", min_p " << rules.min_p << ", typical_p "
                            << rules.typical_p << ", epsilon " << rules.epsilon_cutoff << ", eta " << rules.eta_cutoff;
  }
}

TEST(Sampling, MaskForbidsAndAnEmptyMaskOfEverythingChoosesNothing) {
  const std::vector<float> logits = {1, 5, 3, 4};
  const std::vector<uint64_t> odd = {0b1100}, none = {0};
  SamplingScratch scratch;
  Sample sample;
  SampleRules rules;
  rules.allowed = odd;
  choose(logits, rules, scratch, sample);
  EXPECT_EQ(sample.id, 3);
  for (const float temperature : {0.0f, 1.0f}) {
    rules.temperature = temperature;
    rules.allowed = none;
    choose(logits, rules, scratch, sample);
    EXPECT_EQ(sample.id, -1);
  }
}

TEST(Sampling, GreedyTakesTheLowestIdOfATieAndNeverANotANumber) {
  SamplingScratch scratch;
  Sample sample;
  const std::vector<float> logits = {NAN, 2, 7, 7, INFINITY * 0, -INFINITY};
  choose(logits, {}, scratch, sample);
  EXPECT_EQ(sample.id, 2);
  SampleRules rules;
  rules.temperature = 0.7f;
  rules.typical_p = 0.5f;
  rules.top_p = 0.5f;
  for (const std::vector<float>& bad : {logits, {NAN, NAN}, {INFINITY, 1, INFINITY}, {-INFINITY, -3e38f}}) {
    choose(bad, rules, scratch, sample);
    EXPECT_TRUE(sample.id == -1 || !std::isnan(bad[size_t(sample.id)]));
  }
}

TEST(Sampling, GreedyIsTheFirstLargestForEverySizeAndPlace) {
  std::mt19937 random(test::run_seed());
  SamplingScratch scratch;
  for (int round = 0; round < 3000; ++round) {
    std::vector<float> logits(1 + random() % 1100);
    for (float& x : logits) x = random() % 50 == 0 ? NAN : float(int(random() % 64) - 60);
    if (round % 3 == 0) logits[random() % logits.size()] = 9;
    int32_t expected = -1;
    for (size_t id = 0; id < logits.size(); ++id)
      if (!std::isnan(logits[id]) && (expected < 0 || logits[id] > logits[size_t(expected)])) expected = int32_t(id);
    Sample sample;
    choose(logits, SampleRules{}, scratch, sample);
    ASSERT_EQ(sample.id, expected) << logits.size() << " logits";
  }
}

TEST(Sampling, LogProbabilitiesAreThoseOfTheRawLogits) {
  test::Random random(2);
  std::vector<float> logits(500);
  for (float& x : logits) x = random.normal() * 3;
  SampleRules rules;
  rules.temperature = 0.5f;
  rules.top_k = 3;
  rules.top_logprobs = 5;
  SamplingScratch scratch;
  Sample sample;
  choose(logits, rules, scratch, sample);
  double total = 0;
  for (float x : logits) total += std::exp(double(x));
  EXPECT_NEAR(sample.log_probability, double(logits[size_t(sample.id)]) - std::log(total), 1e-6);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  ASSERT_EQ(sample.top.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(logits[size_t(sample.top[i].id)], sorted[i]);
    EXPECT_NEAR(sample.top[i].log_probability, double(sorted[i]) - std::log(total), 1e-6);
  }
}

// Pearson's chi-square over the tokens expected often enough, 20,000 draws. With fixed seeds the statistic is a
// constant; the limit is its 99.99 % quantile (Wilson and Hilferty's approximation).
TEST(Sampling, DrawsFollowTheStatedDistribution) {
  std::vector<float> logits(40);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = float(std::sin(double(i) * 1.7) * 2);
  SampleRules rules;
  rules.temperature = 0.8f;
  rules.top_p = 0.9f;
  const std::vector<double> expected = Naive(logits, rules).softmax();
  constexpr int kDraws = 20000;
  for (const uint64_t seed : {uint64_t(0), uint64_t(7), uint64_t(0xfedcba9876543210)}) {
    std::vector<int> counts(logits.size());
    SamplingScratch scratch;
    Sample sample;
    rules.seed = seed;
    rules.top_logprobs = -1;
    for (int i = 0; i < kDraws; ++i) {
      rules.position = uint64_t(i);
      choose(logits, rules, scratch, sample);
      ++counts[size_t(sample.id)];
    }
    double statistic = 0, degrees = -1;
    for (size_t id = 0; id < counts.size(); ++id) {
      const double mean = expected[id] * kDraws;
      if (mean == 0) {
        EXPECT_EQ(counts[id], 0) << id;
      }
      if (mean < 5) continue;
      statistic += (counts[id] - mean) * (counts[id] - mean) / mean;
      degrees += 1;
    }
    const double t = 1 - 2 / (9 * degrees) + 3.72 * std::sqrt(2 / (9 * degrees));
    EXPECT_LT(statistic, degrees * t * t * t) << "seed " << seed << ", " << degrees << " degrees of freedom";
    EXPECT_GT(degrees, 10);
  }
}

// Known-answer vectors of Random123 (Salmon et al. 2011).
TEST(Philox, KnownAnswers) {
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  EXPECT_EQ(uniform(0, 0), double(0xe169c58d6627e8d5u >> 11) * 0x1p-53);
}

TEST(Philox, UniformDependsOnBothArgumentsAndIsEven) {
  std::vector<int> buckets(64);
  for (uint64_t seed = 0; seed < 100; ++seed)
    for (uint64_t position = 0; position < 640; ++position) ++buckets[size_t(uniform(seed << 40, position << 30) * 64)];
  double statistic = 0;
  for (int count : buckets) statistic += (count - 1000.0) * (count - 1000.0) / 1000;
  EXPECT_LT(statistic, 117);  // 63 degrees of freedom, 99.99 %
  EXPECT_GT(statistic, 20);
}

}  // namespace
}  // namespace updraft::compute
