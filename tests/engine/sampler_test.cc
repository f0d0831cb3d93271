// Sampler against transformers' logits processors: history and parameters become rules, compute::process_scores applies
// them, the scores are the golden's.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "compute/sampling.h"
#include "tests/support/goldens.h"
#include "tests/support/random.h"

namespace updraft::engine {
namespace {

using Ids = std::vector<int32_t>;
constexpr float kForbidden = -std::numeric_limits<float>::infinity();

std::vector<float> process(Sampler& sampler, const Ids& ids, const std::vector<float>& logits) {
  compute::SamplingScratch scratch;
  std::vector<float> out(logits.size());
  compute::process_scores(logits, sampler.rules(ids), scratch, out);
  return out;
}

// The rules after `ids`, of which the first request.ids.size() are the prompt; brought up one id at a time as the
// engine does, which must be the same as all at once.
std::vector<float> process_step_by_step(const Request& request, const Ids& ids, const std::vector<float>& logits) {
  Sampler steps(request, 0), whole(request, 0);
  Ids growing = request.ids;
  for (size_t i = request.ids.size(); i < ids.size(); ++i) {
    steps.rules(growing);
    growing.push_back(ids[i]);
  }
  const std::vector<float> out = process(steps, ids, logits);
  EXPECT_EQ(out, process(whole, ids, logits));
  return out;
}

Request request_of(const nlohmann::json& golden) {
  Request request;
  const Ids ids = golden.at("input_ids");
  const auto& params = golden.at("params");
  SamplingParameters& sampling = request.sampling;
  sampling.top_k = 0;
  size_t prompt_tokens = params.value("prompt_tokens", ids.size());
  for (const auto& [key, value] : params.items()) {
    if (key == "temperature") {
      sampling.do_sample = true;
      sampling.temperature = value;
    } else if (key == "top_k") {
      sampling.top_k = value;
    } else if (key == "top_p") {
      sampling.top_p = value;
    } else if (key == "min_p") {
      sampling.min_p = value;
    } else if (key == "typical_p") {
      sampling.typical_p = value;
    } else if (key == "epsilon_cutoff") {
      sampling.epsilon_cutoff = value;
    } else if (key == "eta_cutoff") {
      sampling.eta_cutoff = value;
    } else if (key == "repetition_penalty") {
      sampling.repetition_penalty = value;
    } else if (key == "no_repeat_ngram_size") {
      sampling.no_repeat_ngram_size = value;
    } else if (key == "bad_words_ids") {
      sampling.bad_words = value.get<std::vector<Ids>>();
    } else if (key == "sequence_bias") {
      for (const auto& pair : value) sampling.sequence_bias.emplace_back(pair[0].get<Ids>(), pair[1].get<float>());
    } else if (key == "suppress_tokens") {
      sampling.suppressed_ids = value.get<Ids>();
    } else if (key == "eos_token_id") {
      request.eos_ids = value.is_array() ? value.get<Ids>() : Ids{value.get<int32_t>()};
    } else if (key == "min_new_tokens") {
      request.min_new_tokens = value;
    } else if (key == "min_length") {
      // Of prompt and answer together; whatever part of the ids is the prompt, the bound is the same one.
      prompt_tokens = 1;
      request.min_new_tokens = value.get<int64_t>() - 1;
    } else if (key != "prompt_tokens") {
      ADD_FAILURE() << "unknown parameter " << key;
    }
  }
  request.ids.assign(ids.begin(), ids.begin() + int64_t(prompt_tokens));
  return request;
}

std::vector<float> sorted(std::vector<float> values) {
  std::sort(values.begin(), values.end());
  return values;
}

float smallest_kept(const std::vector<float>& scores) {
  float smallest = std::numeric_limits<float>::infinity();
  for (float score : scores) smallest = score > kForbidden ? std::min(smallest, score) : smallest;
  return smallest;
}

TEST(GoldenSampler, EqualsTransformers) {
  const auto path = test::find_golden("sampling/processors.jsonl");
  if (path.empty()) GTEST_SKIP() << "sampling/processors.jsonl is missing";
  std::ifstream file(path);
  std::map<std::string, int> cases;
  for (std::string line; std::getline(file, line);) {
    const auto golden = nlohmann::json::parse(line);
    const std::string name = golden.at("name");
    const std::vector<float> scores = golden.at("scores");
    const std::vector<float> out = process_step_by_step(request_of(golden), golden.at("input_ids"), scores);
    std::vector<float> expected;
    for (const auto& score : golden.at("out")) expected.push_back(score.is_null() ? kForbidden : score.get<float>());
    // torch's sort is not stable: which of several equal scores top_p cuts is chance there, only their number is not.
    EXPECT_EQ(sorted(out), sorted(expected)) << name << " " << cases[name];
    const float cut = golden.at("params").contains("top_p") ? smallest_kept(expected) : kForbidden;
    for (size_t id = 0; id < out.size(); ++id) {
      if (expected[id] > cut || cut == kForbidden) {
        EXPECT_EQ(out[id], expected[id]) << name << " " << cases[name] << ", id " << id;
      }
    }
    ++cases[name];
  }
  EXPECT_GE(cases.size(), 14u);
}

// Straight from the definitions, over the whole history, with none of the Sampler's shortcuts.
std::vector<float> naive(const Request& request, const Ids& ids, std::vector<float> scores) {
  const SamplingParameters& p = request.sampling;
  const auto at_the_end = [&](const Ids& phrase) {
    return phrase.size() == 1 || (phrase.size() <= ids.size() &&
                                  std::equal(phrase.begin(), phrase.end() - 1, ids.end() - int64_t(phrase.size() - 1)));
  };
  std::map<Ids, float> unique;
  for (const auto& [phrase, bias] : p.sequence_bias) unique[phrase] = bias;
  std::map<int32_t, float> sums;
  for (const auto& [phrase, bias] : unique) {
    if (phrase.size() == 1) sums[phrase[0]] = bias;
  }
  for (const auto& [id, bias] : p.logit_bias) sums[id] += bias;
  for (const auto& [phrase, bias] : unique) {
    if (phrase.size() > 1 && at_the_end(phrase)) sums[phrase.back()] += bias;
  }
  for (const auto& [id, bias] : sums) scores[size_t(id)] += bias;
  std::map<int32_t, int> generated;
  for (size_t i = 0; i < ids.size(); ++i) generated[ids[i]] += i >= request.ids.size();
  for (const auto& [id, count] : generated) {
    float& score = scores[size_t(id)];
    score = score < 0 ? score * p.repetition_penalty : score / p.repetition_penalty;
  }
  const int64_t n = p.no_repeat_ngram_size;
  for (int64_t i = 0; n > 0 && i + n <= int64_t(ids.size()); ++i) {
    if (std::equal(ids.begin() + i, ids.begin() + i + n - 1, ids.end() - (n - 1)))
      scores[size_t(ids[size_t(i + n - 1)])] = kForbidden;
  }
  const auto is_eos = [&](int32_t id) {
    return std::find(request.eos_ids.begin(), request.eos_ids.end(), id) != request.eos_ids.end();
  };
  for (const Ids& word : p.bad_words) {
    if (at_the_end(word) && !(word.size() == 1 && is_eos(word[0]))) scores[size_t(word.back())] = kForbidden;
  }
  const int64_t new_tokens = int64_t(ids.size() - request.ids.size());
  for (size_t id = 0; id < scores.size(); ++id) {
    if (is_eos(int32_t(id)) && (request.ignore_eos || new_tokens < request.min_new_tokens)) scores[id] = kForbidden;
  }
  for (int32_t id : p.suppressed_ids) scores[size_t(id)] = kForbidden;
  for (int32_t id : p.begin_suppressed_ids) {
    if (new_tokens == 0) scores[size_t(id)] = kForbidden;
  }
  for (const auto& [id, count] : generated) {
    if (count > 0) scores[size_t(id)] -= p.presence_penalty + p.frequency_penalty * float(count);
  }
  return scores;
}

TEST(Sampler, EqualsTheDefinitionOnRandomHistories) {
  constexpr int32_t kVocabulary = 12;  // small, so that everything repeats
  test::Random random(3);
  const auto id = [&] { return int32_t(random.integer(0, kVocabulary - 1)); };
  const auto phrase = [&] {
    Ids ids(size_t(random.integer(1, 3)));
    for (int32_t& one : ids) one = id();
    return ids;
  };
  for (int round = 0; round < 3000; ++round) {
    Request request;
    request.ids.resize(size_t(random.integer(1, 10)));
    for (int32_t& one : request.ids) one = id();
    SamplingParameters& p = request.sampling;
    if (random.chance(0.5)) p.repetition_penalty = 1.5f;
    if (random.chance(0.5)) p.presence_penalty = 0.25f;
    if (random.chance(0.5)) p.frequency_penalty = -0.5f;
    if (random.chance(0.5)) p.no_repeat_ngram_size = int32_t(random.integer(1, 4));
    for (int64_t i = random.integer(0, 4); i > 0; --i) p.bad_words.push_back(phrase());
    for (int64_t i = random.integer(0, 6); i > 0; --i)
      p.sequence_bias.emplace_back(phrase(), float(random.integer(-4, 4)));
    for (int64_t i = random.integer(0, 2); i > 0; --i) p.logit_bias.emplace_back(id(), float(random.integer(-4, 4)));
    if (random.chance(0.3)) p.suppressed_ids = {id(), id()};
    if (random.chance(0.3)) p.begin_suppressed_ids = {id()};
    if (random.chance(0.7)) request.eos_ids = {id(), id()};
    request.ignore_eos = random.chance(0.3);
    request.min_new_tokens = random.integer(0, 5);
    Sampler sampler(request, 0);
    Ids ids = request.ids;
    for (int step = 0; step < 12; ++step) {
      std::vector<float> scores(kVocabulary);
      for (float& score : scores) score = float(random.integer(-64, 64)) / 8;
      ASSERT_EQ(process(sampler, ids, scores), naive(request, ids, scores)) << "round " << round << ", step " << step;
      ids.push_back(id());
      if (random.chance(0.2)) ids.push_back(id());  // as after speculation
    }
  }
}

TEST(Sampler, GreedyWithoutRulesSendsNone) {
  Request request;
  request.ids = {1, 2, 3};
  request.eos_ids = {2};
  Sampler sampler(request, 0);
  const compute::SampleRules rules = sampler.rules(request.ids);
  EXPECT_TRUE(rules.biases.empty() && rules.seen.empty() && rules.allowed.empty());
  EXPECT_EQ(rules.temperature, 0);
  EXPECT_EQ(rules.position, 3u);
  EXPECT_EQ(rules.top_logprobs, -1);
}

TEST(Sampler, AnswersHaveSeedsOfTheirOwn) {
  Request request;
  request.ids = {1};
  request.sampling.seed = 40;
  EXPECT_EQ(Sampler(request, 2).rules(request.ids).seed, 42u);
}

TEST(Sampler, ALongRepetitiveHistoryStaysCheap) {
  Request request;
  request.ids.assign(200000, 5);
  request.sampling.no_repeat_ngram_size = 1;
  Sampler sampler(request, 0);
  Ids ids = request.ids;
  for (int step = 0; step < 1000; ++step) {
    ASSERT_EQ(sampler.rules(ids).biases.size(), 1u);
    ids.push_back(5);
  }
}

TEST(Refuse, NamesTheFieldThatIsWrong) {
  Request good;
  good.ids = {0, 1, 9};
  good.max_new_tokens = 7;
  EXPECT_EQ(refuse(good, 10, 10), "");
  const auto expect = [&](const char* word, auto change) {
    Request request = good;
    change(request);
    EXPECT_NE(refuse(request, 10, 10).find(word), std::string::npos) << word << ": " << refuse(request, 10, 10);
  };
  expect("empty", [](Request& r) { r.ids.clear(); });
  expect("id 10", [](Request& r) { r.ids[1] = 10; });
  expect("id -1", [](Request& r) { r.ids[1] = -1; });
  expect("context of 10", [](Request& r) { r.max_new_tokens = 8; });
  expect("context of 10", [](Request& r) { r.max_new_tokens = std::numeric_limits<int64_t>::max(); });
  expect("context of 2", [](Request& r) { r.context = 2; });
  expect("max_new_tokens", [](Request& r) { r.max_new_tokens = -1; });
  expect("min_new_tokens", [](Request& r) { r.min_new_tokens = -1; });
  expect("n is 0", [](Request& r) { r.n = 0; });
  expect("n is 2000000000", [](Request& r) { r.n = 2000000000; });
  expect("temperature", [](Request& r) { r.sampling.temperature = NAN; });
  expect("top_k", [](Request& r) { r.sampling.top_k = -1; });
  expect("top_p", [](Request& r) { r.sampling.top_p = 1.5f; });
  expect("min_p", [](Request& r) { r.sampling.min_p = -1; });
  expect("typical_p", [](Request& r) { r.sampling.typical_p = 0; });
  expect("repetition_penalty", [](Request& r) { r.sampling.repetition_penalty = 0; });
  expect("bad_words", [](Request& r) { r.sampling.bad_words = {{}}; });
  expect("sequence_bias", [](Request& r) { r.sampling.sequence_bias = {{{3, 10}, 1.0f}}; });
  expect("logit_bias", [](Request& r) { r.sampling.logit_bias = {{3, HUGE_VALF}}; });
}

}  // namespace
}  // namespace updraft::engine
