#include "compute/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace updraft::compute {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

// NaN is forbidden and +inf the largest number: the filters need an order and differences.
float finite(float score) {
  return score > kForbidden ? std::min(score, std::numeric_limits<float>::max()) : kForbidden;
}

// The tokens still allowed, with their scores. `ids` is a permutation of them; a filter may reorder it.
struct Candidates {
  std::span<float> scores;  // [vocabulary]; removed ones become -inf
  std::vector<int32_t>& ids;
  std::vector<double>& probabilities;  // [ids], after softmax()

  float score(int32_t id) const { return scores[size_t(id)]; }

  float largest() const {
    float best = kForbidden;
    for (int32_t id : ids) best = std::max(best, score(id));
    return best;
  }

  void softmax() {
    const double top = double(largest());
    probabilities.resize(ids.size());
    double total = 0;
    for (size_t i = 0; i < ids.size(); ++i) total += probabilities[i] = std::exp(double(score(ids[i])) - top);
    for (double& p : probabilities) p /= total;
  }

  // Entropy of probabilities, in nats.
  double entropy() const {
    double sum = 0;
    for (double p : probabilities)
      if (p > 0) sum -= p * std::log(p);
    return sum;
  }

  // Keeps ids[i] where keep(i); the relative order stays.
  template <class Keep>
  void filter(Keep keep) {
    size_t kept = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (keep(i))
        ids[kept++] = ids[i];
      else
        scores[size_t(ids[i])] = kForbidden;
    }
    ids.resize(kept);
  }

  void sort_by_id() { std::sort(ids.begin(), ids.end()); }
};

void keep_top_k(Candidates& c, int32_t k) {
  if (k <= 0 || size_t(k) >= c.ids.size()) return;
  std::nth_element(c.ids.begin(), c.ids.begin() + (k - 1), c.ids.end(),
                   [&](int32_t a, int32_t b) { return c.score(a) > c.score(b); });
  const float smallest = c.score(c.ids[size_t(k - 1)]);
  c.filter([&](size_t i) { return c.score(c.ids[i]) >= smallest; });  // ties with the k-th stay
  c.sort_by_id();
}

// transformers sorts upwards (stable: of equal scores the lower id first) and removes while the running sum is at most
// 1 - p. The same set from above, without sorting what will be removed: a token stays while those before it sum to less
// than p.
void keep_top_p(Candidates& c, double p) {
  if (p >= 1 || c.ids.size() < 2) return;
  const double top = double(c.largest());
  double total = 0;
  for (int32_t id : c.ids) total += std::exp(double(c.score(id)) - top);
  const auto better = [&](int32_t a, int32_t b) { return c.score(a) != c.score(b) ? c.score(a) > c.score(b) : a > b; };
  double before = 0;
  size_t kept = 0, sorted = 0;
  for (size_t chunk = 128; sorted < c.ids.size(); chunk *= 4) {
    const size_t end = std::min(c.ids.size(), sorted + chunk);
    const auto at = [&](size_t i) { return c.ids.begin() + std::ptrdiff_t(i); };
    if (end < c.ids.size()) std::nth_element(at(sorted), at(end), c.ids.end(), better);
    std::sort(at(sorted), at(end), better);
    sorted = end;
    for (; kept < sorted && (kept == 0 || before < p * total); ++kept)
      before += std::exp(double(c.score(c.ids[kept])) - top);
    if (kept < sorted) break;
  }
  c.filter([&](size_t i) { return i < kept; });
  c.sort_by_id();
}

void keep_min_p(Candidates& c, double min_p) {
  if (min_p <= 0) return;
  c.softmax();
  const double limit = min_p * *std::max_element(c.probabilities.begin(), c.probabilities.end());
  c.filter([&](size_t i) { return c.probabilities[i] >= limit; });
}

// Keeps the tokens whose information is closest to the entropy until they hold `mass`. Source: Meister et al. 2022.
void keep_typical(Candidates& c, double mass) {
  if (mass >= 1 || c.ids.size() < 2) return;
  c.softmax();
  const double entropy = c.entropy();
  const double top = double(c.largest());
  double total = 0;
  for (int32_t id : c.ids) total += std::exp(double(c.score(id)) - top);
  const double log_total = top + std::log(total);
  const auto distance = [&](int32_t id) { return std::abs(log_total - double(c.score(id)) - entropy); };
  std::sort(c.ids.begin(), c.ids.end(), [&](int32_t a, int32_t b) {
    const double x = distance(a), y = distance(b);
    return x != y ? x < y : a < b;
  });
  double sum = 0;
  size_t last = 0;  // the first whose running sum reaches the mass; it stays, and so do its ties
  for (; last + 1 < c.ids.size(); ++last)
    if ((sum += std::exp(double(c.score(c.ids[last])) - log_total)) >= mass) break;
  const double limit = distance(c.ids[last]);
  c.filter([&](size_t i) { return i == 0 || distance(c.ids[i]) <= limit; });
  c.sort_by_id();
}

// Removes what is less likely than `limit`, but never the likeliest.
void keep_at_least(Candidates& c, double limit) {
  const float top = c.largest();
  c.filter([&](size_t i) { return c.probabilities[i] >= limit || c.score(c.ids[i]) >= top; });
}

void keep_epsilon(Candidates& c, double epsilon) {
  if (epsilon <= 0) return;
  c.softmax();
  keep_at_least(c, epsilon);
}

// Source: Hewitt et al. 2022.
void keep_eta(Candidates& c, double epsilon) {
  if (epsilon <= 0) return;
  c.softmax();
  keep_at_least(c, std::min(epsilon, std::sqrt(epsilon) * std::exp(-c.entropy())));
}

// Rules that look at the sequence's history: they apply to greedy choice too.
void apply_history(const SampleRules& rules, std::span<float> out) {
  const auto known = [&](int32_t id) { return id >= 0 && size_t(id) < out.size(); };
  for (const SampleRules::Bias& bias : rules.biases)
    if (known(bias.id)) out[size_t(bias.id)] += bias.value;
  if (rules.repetition_penalty != 1)
    for (const SampleRules::Seen& seen : rules.seen)
      if (known(seen.id)) {
        float& score = out[size_t(seen.id)];
        score = score < 0 ? score * rules.repetition_penalty : score / rules.repetition_penalty;
      }
  if (!rules.allowed.empty())
    for (size_t id = 0; id < out.size(); ++id)
      if (id / 64 >= rules.allowed.size() || ((rules.allowed[id / 64] >> (id % 64)) & 1) == 0) out[id] = kForbidden;
  if (rules.presence_penalty != 0 || rules.frequency_penalty != 0)
    for (const SampleRules::Seen& seen : rules.seen)
      if (known(seen.id) && seen.generated > 0)
        out[size_t(seen.id)] -= rules.presence_penalty + rules.frequency_penalty * float(seen.generated);
}

bool has_history(const SampleRules& rules) {
  return !rules.biases.empty() || !rules.allowed.empty() ||
         (!rules.seen.empty() &&
          (rules.repetition_penalty != 1 || rules.presence_penalty != 0 || rules.frequency_penalty != 0));
}

// Lowest id wins a tie; -1 when everything is forbidden. NaN never wins.
int32_t argmax(std::span<const float> scores) {
  int32_t best = -1;
  float largest = kForbidden;
  // Most blocks hold nothing larger than what was seen: their maximum, in lanes side by side, tells.
  constexpr size_t kLanes = 16, kBlockScores = 16 * kLanes;
  for (size_t begin = 0; begin < scores.size(); begin += kBlockScores) {
    const size_t end = std::min(begin + kBlockScores, scores.size());
    float lanes[kLanes];
    std::fill_n(lanes, kLanes, largest);
    size_t id = begin;
    for (; id + kLanes <= end; id += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = scores[id + lane] > lanes[lane] ? scores[id + lane] : lanes[lane];
    for (; id < end; ++id) lanes[0] = scores[id] > lanes[0] ? scores[id] : lanes[0];
    if (*std::max_element(lanes, lanes + kLanes) <= largest) continue;
    for (id = begin; id < end; ++id)
      if (scores[id] > largest) {
        largest = scores[id];
        best = int32_t(id);
      }
  }
  return best;
}

// log of the sum of exp(logits); NaN counts as forbidden
double log_total(std::span<const float> logits, double top) {
  double total = 0;
  for (float x : logits)
    if (x > kForbidden) total += std::exp(double(x) - top);
  return top + std::log(total);
}

int32_t draw(Candidates& c, double u) {
  if (c.ids.empty()) return -1;
  c.softmax();
  double sum = 0;
  int32_t last = -1;  // of those that can be drawn: where rounding leaves the sum below u
  for (size_t i = 0; i < c.ids.size(); ++i) {
    if (c.probabilities[i] <= 0) continue;
    last = c.ids[i];
    if ((sum += c.probabilities[i]) > u) break;
  }
  return last;
}

void report(std::span<const float> logits, int32_t alternatives, SamplingScratch& scratch, Sample& out) {
  const int32_t best = argmax(logits);
  if (best < 0 || out.id < 0) return;
  const double total = log_total(logits, double(logits[size_t(best)]));
  const auto log_probability = [&](int32_t id) { return float(double(logits[size_t(id)]) - total); };
  out.log_probability = log_probability(out.id);
  scratch.order.clear();
  for (size_t id = 0; id < logits.size(); ++id)
    if (logits[id] > kForbidden) scratch.order.push_back(int32_t(id));
  const size_t count = std::min(size_t(alternatives), scratch.order.size());
  std::partial_sort(scratch.order.begin(), scratch.order.begin() + std::ptrdiff_t(count), scratch.order.end(),
                    [&](int32_t a, int32_t b) {
                      const float x = logits[size_t(a)], y = logits[size_t(b)];
                      return x != y ? x > y : a < b;
                    });
  for (size_t i = 0; i < count; ++i) out.top.push_back({scratch.order[i], log_probability(scratch.order[i])});
}

}  // namespace

void process_scores(std::span<const float> logits, const SampleRules& rules, SamplingScratch& scratch,
                    std::span<float> out) {
  for (size_t id = 0; id < logits.size(); ++id) out[id] = logits[id];
  apply_history(rules, out);
  scratch.order.clear();
  for (size_t id = 0; id < out.size(); ++id) {
    out[id] = finite(out[id]);
    if (out[id] > kForbidden) scratch.order.push_back(int32_t(id));
  }
  if (rules.temperature <= 0 || scratch.order.empty()) return;
  Candidates candidates{out, scratch.order, scratch.probabilities};
  if (rules.temperature != 1)
    for (int32_t id : candidates.ids) out[size_t(id)] = finite(out[size_t(id)] / rules.temperature);
  keep_top_k(candidates, rules.top_k);
  keep_top_p(candidates, double(rules.top_p));
  keep_min_p(candidates, double(rules.min_p));
  keep_typical(candidates, double(rules.typical_p));
  keep_epsilon(candidates, double(rules.epsilon_cutoff));
  keep_eta(candidates, double(rules.eta_cutoff));
}

void choose(std::span<const float> logits, const SampleRules& rules, SamplingScratch& scratch, Sample& out) {
  out.top.clear();
  out.log_probability = 0;
  if (rules.temperature <= 0 && !has_history(rules)) {
    out.id = argmax(logits);
  } else {
    scratch.scores.resize(logits.size());
    process_scores(logits, rules, scratch, scratch.scores);
    if (rules.temperature <= 0) {
      out.id = argmax(scratch.scores);
    } else {
      Candidates candidates{scratch.scores, scratch.order, scratch.probabilities};
      out.id = draw(candidates, uniform(rules.seed, rules.position));
    }
  }
  out.undefined =
      out.id < 0 && std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); });
  if (rules.top_logprobs >= 0) report(logits, rules.top_logprobs, scratch, out);
}

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53u) * counter[0], b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b), uint32_t(a >> 32) ^ counter[3] ^ key[1],
               uint32_t(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

double uniform(uint64_t seed, uint64_t position) {
  const std::array<uint32_t, 4> x =
      philox({uint32_t(position), uint32_t(position >> 32), 0, 0}, {uint32_t(seed), uint32_t(seed >> 32)});
  return double(((uint64_t(x[1]) << 32) | x[0]) >> 11) * 0x1p-53;
}

}  // namespace updraft::compute
