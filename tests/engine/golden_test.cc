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
  static std::unique_ptr<Engine> open(const std::filesystem::path& folder, int64_t max_rows) {
    const auto checkpoint = checkpoint::open_checkpoint(folder);
    auto machine = compute::make_machine(
        GetParam(), {.threads = 1, .activations = compute::Activations::kF32, .instruction_set = ""});
    model::Decoder decoder(checkpoint->config(),
                           model::load_decoder_weights(*checkpoint, *machine, DType::kF32, nullptr));
    EngineOptions options;
    options.kv_dtype = DType::kF32;
    options.kv_tokens = 1024;
    options.max_context = 512;
    options.max_rows = max_rows;
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

INSTANTIATE_TEST_SUITE_P(Machines, GoldenEngine, testing::Values("reference", "cpu"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace updraft::engine
