#include "measure/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <set>

#include "base/file.h"
#include "measure/quality_sums.h"
#include "tests/support/error_text.h"
#include "tests/support/goldens.h"
#include "tests/support/random.h"
#include "tests/support/safetensors_file.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/threads.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

TEST(PlanWindows, EveryTokenIsScoredOnceWithSomethingBeforeIt) {
  test::Random random(1);
  for (int round = 0; round < 3000; ++round) {
    const int64_t ids = random.integer(2, 200), length = random.integer(2, 60), stride = random.integer(1, length);
    const bool prefixed = random.chance(0.5);
    std::vector<int> scored(size_t(ids), 0);
    int64_t computed = 0;
    for (const EvaluationWindow& w : plan_windows(ids, length, stride, prefixed)) {
      ASSERT_TRUE(w.begin <= w.scored && w.scored < w.end && w.end <= ids && w.end - w.begin <= length);
      ASSERT_TRUE(prefixed || w.scored > w.begin);
      ASSERT_TRUE(w.end == ids || w.end == w.begin + length);
      ASSERT_EQ(w.begin % stride, 0);
      for (int64_t i = w.scored; i < w.end; ++i) ++scored[size_t(i)];
      computed = w.end;
    }
    for (int64_t i = 0; i < ids; ++i) {
      // Without a prefix the first token of the text has nothing before it; where windows do not overlap, neither has
      // the first of each.
      const bool nothing_before = !prefixed && (i == 0 || (stride == length && i % length == 0));
      ASSERT_EQ(scored[size_t(i)], nothing_before ? 0 : 1) << i << ' ' << ids << ' ' << length << ' ' << stride;
    }
    ASSERT_GE(computed, ids - 1);
  }
}

std::vector<float> random_logits(test::Random& random, int64_t count) {
  std::vector<float> logits(static_cast<size_t>(count));
  for (float& x : logits) x = 6 * random.normal() - 20;
  return logits;
}

long double log_total(const std::vector<float>& logits) {
  long double total = 0;
  for (const float x : logits) total += std::exp((long double)x);
  return std::log(total);
}

TEST(ScoreRow, IsTheFormula) {
  test::Random random(2);
  for (int round = 0; round < 500; ++round) {
    const int64_t n = random.integer(1, 300);
    const std::vector<float> model = random_logits(random, n), reference = random_logits(random, n);
    const auto target = int32_t(random.integer(0, n - 1));
    const long double a = log_total(model), b = log_total(reference);
    long double divergence = 0;
    for (size_t i = 0; i < size_t(n); ++i)
      divergence += std::exp(reference[i] - b) * ((long double)(reference[i] - b) - (model[i] - a));
    const RowScore score = score_row(model, reference, target);
    EXPECT_NEAR(score.nll, double(a - model[size_t(target)]), 1e-12);
    EXPECT_NEAR(score.reference_nll, double(b - reference[size_t(target)]), 1e-12);
    EXPECT_NEAR(score.divergence, double(divergence), 1e-11);
    EXPECT_EQ(score.agrees, std::max_element(model.begin(), model.end()) - model.begin() ==
                                std::max_element(reference.begin(), reference.end()) - reference.begin());
    EXPECT_EQ(score_row(model, target).nll, score.nll);
    EXPECT_LT(score_row(model, model, target).divergence, 1e-12);
  }
}

TEST(QualitySums, MeansErrorsPercentilesAndTheWayThroughAFile) {
  test::Random random(3);
  QualitySums sums;
  std::vector<double> nll, divergences;
  for (int i = 0; i < 5000; ++i) {
    const RowScore score{std::abs(3 * random.normal()), std::abs(3 * random.normal()), std::exp(4 * random.normal()),
                         random.chance(0.75)};
    nll.push_back(score.nll);
    divergences.push_back(score.divergence);
    sums.add(score, 3);
    if (i == 2500) sums = QualitySums::from_state(ordered_json::parse(sums.state().dump()));
  }
  double mean = 0, variance = 0;
  for (const double x : nll) mean += x / 5000;
  for (const double x : nll) variance += (x - mean) * (x - mean) / 4999;
  EXPECT_NEAR(sums.nll().value, mean, 1e-10);
  EXPECT_NEAR(sums.nll().standard_error, std::sqrt(variance / 5000), 1e-10);
  EXPECT_NEAR(sums.agreement().value, 0.75, 0.05);
  EXPECT_NEAR(sums.agreement().standard_error, std::sqrt(0.75 * 0.25 / 5000), 5e-4);
  std::sort(divergences.begin(), divergences.end());
  for (const double share : {0.01, 0.5, 0.99}) {
    const double exact = divergences[size_t(std::ceil(share * 5000)) - 1];
    EXPECT_NEAR(sums.divergence_percentile(share), exact, 0.006 * exact);
  }
  EXPECT_EQ(sums.largest_divergence(), divergences.back());
  EXPECT_EQ(sums.bytes(), 15000);
  EXPECT_EQ(QualitySums::from_state(sums.state()).state(), sums.state());
}

TEST(QualitySums, CountsThatCannotBeAreRefused) {
  QualitySums sums;
  sums.add({.nll = 1, .divergence = 0.5}, 3);
  for (const char* pointer : {"/tokens", "/bytes", "/agreeing", "/divergence_histogram/0/1"})
    for (const int64_t wrong : {int64_t(-1), INT64_MAX}) {
      ordered_json state = sums.state();
      state[ordered_json::json_pointer(pointer)] = wrong;
      EXPECT_THAT(test::error_text([&] { QualitySums::from_state(state); }), testing::HasSubstr("is outside [0, "))
          << pointer;
    }
  // An integer would have no defined value.
  for (const char* pointer : {"/tokens", "/divergence_histogram/0/0", "/divergence_histogram/0/1"}) {
    ordered_json state = sums.state();
    state[ordered_json::json_pointer(pointer)] = -1e19;
    EXPECT_THAT(test::error_text([&] { QualitySums::from_state(state); }), testing::HasSubstr("a whole number"))
        << pointer;
  }
  for (const char* pointer : {"/tokens", "/agreeing", "/divergence_histogram/0/1"}) {
    ordered_json state = sums.state();
    state[ordered_json::json_pointer(pointer)] = 2;  // more that agree, or divergences, than tokens; or fewer
    EXPECT_THAT(test::error_text([&] { QualitySums::from_state(state); }), testing::HasSubstr("its sums hold"))
        << pointer;
  }
}

class GoldenEvaluation : public testing::Test {
 protected:
  void SetUp() override {
    const auto folder = test::find_golden("tiny/qwen2");
    if (folder.empty()) GTEST_SKIP() << "tiny/qwen2 is not among the goldens";
    options_.model.model = folder.string();
    options_.model.weights.dtype = DType::kF32;
    options_.model.kv_dtype = compute::KvType::kF32;
    options_.model.threads = 2;
    golden_ = std::make_unique<test::SafetensorsFile>(folder / "golden.safetensors");
    text_.path = "golden";
    for (const int64_t id : golden_->values<int64_t>("prompt_3.ids")) text_.ids.push_back(int32_t(id));
    text_.bytes.assign(text_.ids.size(), 2);
  }

  Evaluation run(
      int windows = 1000, const std::function<void()>& after_window = [] {}) {
    std::atomic<bool> stop = false;
    const auto count = [&](const Progress&) { after_window(), stop = --windows <= 0; };
    const auto load = [&](const session::LoadOptions& o) { return ++loads_, session::Session::load(o); };
    return evaluate(options_, text_, load, count, stop);
  }

  EvaluationOptions options_;
  EvaluationText text_;
  std::unique_ptr<test::SafetensorsFile> golden_;
  int loads_ = 0;
};

TEST_F(GoldenEvaluation, LikelihoodIsThatOfTransformers) {
  const std::vector<double> logits = golden_->values<double>("prompt_3.logits64");
  const size_t tokens = text_.ids.size(), vocabulary = logits.size() / tokens;
  double nll = 0;
  for (size_t i = 1; i < tokens; ++i) {
    double total = 0;
    const double* row = logits.data() + (i - 1) * vocabulary;
    for (size_t k = 0; k < vocabulary; ++k) total += std::exp(row[k]);
    nll += (std::log(total) - row[size_t(text_.ids[i])]) / double(tokens - 1);
  }
  const ordered_json report = run().report;
  EXPECT_EQ(report["scored_tokens"], tokens - 1);
  EXPECT_NEAR(report["model"]["nll"].get<double>(), nll, 1e-5);
  EXPECT_NEAR(report["model"]["perplexity"].get<double>(), std::exp(nll), 1e-4 * std::exp(nll));
  EXPECT_NEAR(report["model"]["bits_per_byte"].get<double>(), nll / 2 / std::log(2.0), 1e-5);
  EXPECT_TRUE(report["reference"].is_null());
}

TEST_F(GoldenEvaluation, StoppedAnywhereItEndsWithTheSameBits) {
  options_.reference = options_.model;
  options_.model.weights.dtype = DType::kF16;
  options_.context = 9;
  options_.stride = 4;
  const ordered_json whole = run().report;
  EXPECT_GT(whole["against_reference"]["kl_divergence_mean"].get<double>(), 0);
  EXPECT_LT(whole["against_reference"]["kl_divergence_mean"].get<double>(), 1e-5);
  const auto windows = whole["windows"].get<int>();
  ASSERT_GT(windows, 4);
  for (int first = 1; first < windows; ++first) {
    test::TemporaryFolder folder;
    options_.state_path = (folder.path() / "state.json").string();
    const Evaluation stopped = run(first);
    EXPECT_FALSE(stopped.finished);
    EXPECT_EQ(stopped.report["windows_done"], first);
    const Evaluation resumed = run();
    EXPECT_TRUE(resumed.finished);
    EXPECT_EQ(resumed.report, whole);
  }
  options_.state_path.clear();
  options_.take_turns = true;
  EXPECT_EQ(run().report, whole);
}

TEST_F(GoldenEvaluation, AStrideOfTheWholeContextMeansSideBySide) {
  text_.prefix = {1};
  options_.context = 9;
  const ordered_json side_by_side = run().report;
  options_.stride = 9;  // one more than a window has of the text
  EXPECT_EQ(run().report, side_by_side);
  EXPECT_EQ(side_by_side["stride"], 8);
}

TEST_F(GoldenEvaluation, ThreadsChangeNoBitAndAreOfOneTeamForTheWholeRun) {
  options_.reference = options_.model;
  options_.model.weights.dtype = DType::kF16;
  options_.context = 9;
  ordered_json expected;
  for (const int threads : {1, 2, 5}) {
    options_.model.threads = options_.reference->threads = threads;
    const std::set<std::string> before = test::threads_of_this_process();
    std::vector<std::set<std::string>> at_windows;
    const ordered_json report = run(1000, [&] { at_windows.push_back(test::threads_since(before)); }).report;
    ASSERT_GT(at_windows.size(), 2u);
    // Those of the model, those of the reference, and those that score rows: the same from the first window on.
    EXPECT_EQ(at_windows.back().size(), size_t(3 * (threads - 1)));
    EXPECT_THAT(at_windows.front(), testing::IsSupersetOf(at_windows.back()));
    if (expected.is_null()) expected = report;
    EXPECT_EQ(report, expected) << threads;
  }
}

TEST_F(GoldenEvaluation, TheSameComputationIsNotComparedWithItself) {
  options_.reference = options_.model;
  EXPECT_TRUE(run().report["reference"].is_null());
}

TEST_F(GoldenEvaluation, AStateOfAnotherEvaluationIsRefused) {
  test::TemporaryFolder folder;
  options_.state_path = (folder.path() / "state.json").string();
  options_.context = 9;
  run(2);
  const auto refusal = [&] { return test::error_text([&] { run(); }); };
  EXPECT_EQ(refusal(), "");
  auto kept = options_;
  options_.context = 10;
  EXPECT_NE(refusal().find("its context is 9, but here it is 10"), std::string::npos) << refusal();
  options_ = kept;
  options_.model.kv_dtype = compute::KvType::kF16;
  EXPECT_NE(refusal().find("its model is"), std::string::npos) << refusal();
  options_ = kept;
  text_.hash = 5;
  EXPECT_NE(refusal().find("its text is"), std::string::npos) << refusal();
  text_.hash = 0;

  const std::string good = read_text_file(options_.state_path);
  ordered_json tampered = ordered_json::parse(good);
  tampered["sums"]["agreeing"] = 100000;
  folder.write("state.json", tampered.dump());
  EXPECT_THAT(refusal(), testing::AllOf(testing::HasSubstr("state.json: is damaged: its sums hold"),
                                        testing::HasSubstr("of which 100000 agree; give another --resume file.")));
  ordered_json older = ordered_json::parse(good);
  older["schema"] = "updraft.eval-state/1";
  folder.write("state.json", older.dump());
  EXPECT_NE(refusal().find("give another --resume file"), std::string::npos) << refusal();
  test::Random random(4);
  for (int round = 0; round < 60; ++round) {
    std::string bad = good;
    if (random.chance(0.5))
      bad.resize(size_t(random.integer(0, int64_t(bad.size()) - 3)));
    else
      bad[size_t(random.integer(0, int64_t(bad.size()) - 1))] = char(random.integer(32, 126));
    folder.write("state.json", bad);
    const std::string text = refusal();  // a changed digit of a sum cannot be told
    EXPECT_TRUE(text.empty() || text.find("state.json") != std::string::npos) << text;
  }
}

TEST_F(GoldenEvaluation, ModelsThatDoNotFitTogetherAreRefused) {
  const auto other = test::find_golden("tiny/llama-rope-dynamic");
  if (other.empty()) GTEST_SKIP();
  options_.reference = options_.model;
  options_.reference->model = other.string();
  const std::string text = test::error_text([&] { run(); });
  EXPECT_TRUE(text.empty() || text.find("vocabulary") != std::string::npos) << text;
  text_.ids[3] = 100000;
  EXPECT_NE(test::error_text([&] { run(); }).find("100000"), std::string::npos);
}

}  // namespace
}  // namespace updraft::measure
