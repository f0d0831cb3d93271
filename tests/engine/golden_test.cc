// The tiny models of the goldens through the engine: transformers' greedy tokens and logits, alone and all together, on
// every machine.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "model/decoder_weights.h"
#include "tests/support/goldens.h"
#include "tests/support/random.h"
#include "tests/support/safetensors_file.h"

namespace updraft::engine {
namespace {

// Logits of F32 weights and K/V differ from the reference in double by at most this part of the largest one.
constexpr double kTolerance = 2e-5;

struct Case {
  std::vector<int32_t> ids, greedy;
  std::vector<double> margins;
  double max_abs_logit = 0;
};

std::vector<Case> read_cases(const std::filesystem::path& folder) {
  std::ifstream file(folder / "golden.json");
  const auto golden = nlohmann::json::parse(file);
  const test::SafetensorsFile tensors(folder / "golden.safetensors");
  std::vector<Case> cases;
  for (const auto& entry : golden.at("cases")) {
    Case one;
    const std::string name = "prompt_" + std::to_string(entry.at("prompt").get<int>()) + ".ids";
    if (tensors.dtype(name) == "I64") {
      for (int64_t id : tensors.values<int64_t>(name)) one.ids.push_back(int32_t(id));
    } else {
      one.ids = tensors.values<int32_t>(name);
    }
    one.greedy = entry.at("greedy").get<std::vector<int32_t>>();
    one.margins = entry.at("margins").get<std::vector<double>>();
    one.max_abs_logit = entry.at("max_abs_logit");
    cases.push_back(std::move(one));
  }
  return cases;
}

class GoldenEngine : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Engine> open(const std::filesystem::path& folder, int64_t max_rows,
                                      const SpeculationOptions& speculation = {}, int threads = 1) {
    const auto checkpoint = checkpoint::open_checkpoint(folder);
    auto machine = compute::make_machine(
        GetParam(), {.threads = threads, .activations = compute::Activations::kF32, .instruction_set = ""});
    model::Decoder decoder(checkpoint->config(),
                           model::load_decoder_weights(*checkpoint, *machine, {DType::kF32}, nullptr));
    EngineOptions options;
    options.kv_dtype = compute::KvType::kF32;
    options.kv_tokens = 1024;
    options.max_context = 512;
    options.max_rows = max_rows;
    options.speculation = speculation;
    return std::make_unique<Engine>(std::move(machine), std::move(decoder), options);
  }

  static std::vector<std::filesystem::path> folders() {
    std::vector<std::filesystem::path> found;
    for (const char* name :
         {"llama-bias", "llama-rope-dynamic", "llama-rope-linear", "llama-rope-llama3", "llama-rope-longrope",
          "llama-rope-yarn", "llama-tied", "mistral-bf16", "mistral-bin", "mistral-bin-sharded", "mistral-f32-sharded",
          "mistral-head-dim", "mistral-window", "qwen2", "qwen3"}) {
      const auto folder = test::find_golden(std::string("tiny/") + name);
      if (!folder.empty()) found.push_back(folder);
    }
    return found;
  }
};

// Equal up to the first choice that the reference made by less than twice the tolerance.
void expect_same_choices(const Case& golden, const Answer& answer, const std::string& where) {
  ASSERT_EQ(answer.error, "") << where;
  ASSERT_EQ(answer.ids.size(), golden.greedy.size()) << where;
  for (size_t i = 0; i < golden.greedy.size(); ++i) {
    if (golden.margins[i] <= 2 * kTolerance * golden.max_abs_logit && answer.ids[i] != golden.greedy[i]) return;
    ASSERT_EQ(answer.ids[i], golden.greedy[i]) << where << ", token " << i;
  }
}

TEST_P(GoldenEngine, GreedyTokensOfTheTinyModels) {
  if (folders().empty()) GTEST_SKIP() << "no golden tiny/ models";
  int compared = 0;
  for (const auto& folder : folders()) {
    const std::vector<Case> cases = read_cases(folder);
    for (int64_t max_rows : {5, 512}) {
      const auto engine = open(folder, max_rows);
      std::vector<RequestId> ids;
      for (const Case& golden : cases) {
        Request request;
        request.ids = golden.ids;
        request.max_new_tokens = int64_t(golden.greedy.size());
        ids.push_back(engine->submit(request));
      }
      while (engine->step()) continue;
      for (size_t i = 0; i < cases.size(); ++i) {
        expect_same_choices(cases[i], engine->take(ids[i]).front(),
                            folder.filename().string() + ", prompt " + std::to_string(i));
        ++compared;
      }
    }
  }
  RecordProperty("cases", compared);
}

TEST_P(GoldenEngine, LogitsOfTheTinyModels) {
  if (folders().empty()) GTEST_SKIP() << "no golden tiny/ models";
  for (const auto& folder : folders()) {
    const std::vector<Case> cases = read_cases(folder);
    const test::SafetensorsFile tensors(folder / "golden.safetensors");
    const auto engine = open(folder, 512);
    for (size_t i = 0; i < cases.size(); ++i) {
      const std::string name = "prompt_" + std::to_string(i) + ".logits64";
      std::vector<double> expected;
      if (tensors.dtype(name) == "F64") {
        expected = tensors.values<double>(name);
      } else {
        for (float x : tensors.values<float>(name)) expected.push_back(double(x));
      }
      double worst = 0, largest = 0;
      engine->logits(cases[i].ids, 7, [&](int64_t position, std::span<const float> row) {
        for (size_t id = 0; id < row.size(); ++id) {
          const double want = expected[size_t(position) * row.size() + id];
          worst = std::max(worst, std::abs(double(row[id]) - want));
          largest = std::max(largest, std::abs(want));
        }
      });
      EXPECT_LE(worst, kTolerance * largest) << folder.filename() << ", prompt " << i;
    }
  }
}

// Prompts that say things twice, all rules that a request may have, several answers, many at once.
std::vector<Request> random_requests(test::Random& random, int64_t vocabulary) {
  std::vector<Request> requests(size_t(random.integer(2, 6)));
  for (Request& request : requests) {
    std::vector<int32_t> phrase;
    for (int i = 0; i < 12; ++i) phrase.push_back(int32_t(random.integer(0, vocabulary - 1)));
    for (int times = int(random.integer(1, 4)); times > 0; --times)
      request.ids.insert(request.ids.end(), phrase.begin(), phrase.begin() + random.integer(1, 12));
    request.max_new_tokens = random.integer(1, 40);
    request.n = int32_t(random.integer(1, 2));
    request.sampling.do_sample = random.chance(0.5);
    request.sampling.temperature = float(random.real() * 0.5 + 0.1);
    request.sampling.seed = random.next();
    request.sampling.top_logprobs = int32_t(random.integer(0, 3));
    if (random.chance(0.3)) request.sampling.repetition_penalty = 1.1f;
    if (random.chance(0.2)) request.sampling.frequency_penalty = 0.3f;
    if (random.chance(0.2)) request.sampling.logit_bias = {{int32_t(random.integer(0, vocabulary - 1)), 3.0f}};
    if (random.chance(0.2)) request.eos_ids = {int32_t(random.integer(0, vocabulary - 1))};
  }
  return requests;
}

std::vector<Answer> answers_of(Engine& engine, const std::vector<Request>& requests) {
  std::vector<RequestId> ids;
  for (const Request& request : requests) ids.push_back(engine.submit(request));
  while (engine.step()) continue;
  std::vector<Answer> all;
  for (RequestId id : ids)
    for (Answer& answer : engine.take(id)) all.push_back(std::move(answer));
  return all;
}

TEST_P(GoldenEngine, SpeculationChangesNoBit) {
  if (folders().empty()) GTEST_SKIP() << "no golden tiny/ models";
  test::Random random(5);
  int64_t proposed = 0, accepted = 0;
  for (const auto& folder : folders()) {
    const auto plain = open(folder, 512, {.on = false}, 1);
    const SpeculationOptions eager{.most = random.integer(1, 20), .shortest = 1, .step_cost = 0, .row_cost = 0};
    const auto guessing = open(folder, random.integer(1, 64), eager, int(random.integer(1, 2)));
    const auto usual = open(folder, 512, {}, 1);
    const auto requests = random_requests(random, plain->decoder().config().vocabulary_size);
    const std::vector<Answer> expected = answers_of(*plain, requests);
    for (Engine* engine : {guessing.get(), usual.get()}) {
      const std::vector<Answer> answers = answers_of(*engine, requests);
      ASSERT_EQ(answers.size(), expected.size());
      for (size_t i = 0; i < answers.size(); ++i) {
        ASSERT_EQ(answers[i].ids, expected[i].ids) << folder.filename() << ", answer " << i;
        ASSERT_EQ(answers[i].finish_reason, expected[i].finish_reason);
        for (size_t t = 0; t < answers[i].tokens.size(); ++t) {
          ASSERT_EQ(answers[i].tokens[t].log_probability, expected[i].tokens[t].log_probability);
          for (size_t j = 0; j < expected[i].tokens[t].top.size(); ++j)
            ASSERT_EQ(answers[i].tokens[t].top[j].log_probability, expected[i].tokens[t].top[j].log_probability);
        }
        EXPECT_EQ(int64_t(answers[i].ids.size()), answers[i].steps + answers[i].accepted);
        proposed += answers[i].proposed, accepted += answers[i].accepted;
      }
    }
    EXPECT_EQ(plain->statistics().proposed_tokens, 0);
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(proposed, accepted);
}

INSTANTIATE_TEST_SUITE_P(Machines, GoldenEngine, testing::Values("reference", "cpu"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace updraft::engine
