// Tuning: no setting changes a bit; results are kept per machine and shape, and nothing else is believed.
#include "measure/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "base/hash.h"
#include "session/tuning.h"
#include "tests/support/error_text.h"
#include "tests/support/random.h"
#include "tests/support/temporary_folder.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

class Tune : public testing::Test {
 protected:
  session::LoadOptions load_options() {
    session::LoadOptions options;
    options.synthetic = folder_
                            .write("config.json",
                                   R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 96,
                       "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2,
                       "num_hidden_layers": 2, "vocab_size": 300, "max_position_embeddings": 1024,
                       "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
                       "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"})")
                            .string();
    options.threads = 2;
    return options;
  }

  test::TemporaryFolder folder_;
  const std::atomic<bool> go_on_{false};
};

TEST_F(Tune, NoSettingChangesABit) {
  session::LoadOptions options = load_options();
  options.kv_tokens = 1024;
  options.max_sequences = options.max_rows = 512;  // so that as many logits are computed in one step
  std::vector<int32_t> ids;
  for (int i = 0; i < 300; ++i) ids.push_back((i * 37 + i * i) % 300);
  for (const char* weights : {"bf16", "int8", "int4-g32-asym"}) {
    options.weights = *model::parse_weight_choice(weights);
    options.kv_dtype = options.weights.format ? compute::KvType::kInt8 : compute::KvType::kF16;
    const auto loaded = session::Session::load(options);
    std::set<uint64_t> hashes;
    for (const compute::Tuning& tuning : search_space(2)) {
      loaded->engine().machine().tune(tuning);
      Hash64 hash;
      loaded->engine().logits(ids, tuning.step_rows,
                              [&](int64_t, std::span<const float> row) { hash.add(row.data(), row.size_bytes()); });
      loaded->engine().logits(std::span(ids).first(3), 1,
                              [&](int64_t, std::span<const float> row) { hash.add(row.data(), row.size_bytes()); });
      hashes.insert(hash.value());
    }
    EXPECT_EQ(hashes.size(), 1u) << weights;
  }
}

TEST_F(Tune, FindsSomethingInTimeAndLeavesAValidResult) {
  session::LoadOptions load = load_options();
  const TuneOptions options{.seconds = 3, .prompt_tokens = 128, .depth = 32, .rounds = 2};
  prepare(options, load);
  const auto loaded = session::Session::load(load);
  const TuneResult result = tune(*loaded, options, {}, go_on_);
  EXPECT_GT(result.measured["decode_gain"].get<double>(), 0);
  EXPECT_GT(result.measured["prefill_gain"].get<double>(), 0);
  EXPECT_FALSE(result.measured["trials"].empty());
  const std::string kept = (folder_.path() / "tuning").string();
  const session::TunedFor what = loaded->tuned_for();
  EXPECT_FALSE(session::read_tuning(kept, what).has_value());
  session::write_tuning(kept, what, result.best, result.measured.dump());
  ASSERT_TRUE(session::read_tuning(kept, what).has_value());
  EXPECT_EQ(*session::read_tuning(kept, what), result.best);
  EXPECT_EQ(session::tuned_shapes(kept).size(), 1u);

  session::LoadOptions again = load_options();
  EXPECT_STREQ(session::Session::load(again)->tuning_source(), "default");
  again.tuning_folder = kept;
  EXPECT_STREQ(session::Session::load(again)->tuning_source(), "file");
  again.threads = 1;  // another machine, as far as tuning goes
  EXPECT_STREQ(session::Session::load(again)->tuning_source(), "default");
}

// A machine whose times are a formula, and on which the tuner's clock runs.
struct PretendedWork : TunedWork {
  double decode_s(const compute::Tuning& tuning, int64_t steps, int64_t rows) override {
    return measured(true, tuning) * double(steps) * (1 + 0.1 * double(rows - 1));
  }
  double prefill_s(const compute::Tuning& tuning, int64_t tokens) override {
    return measured(false, tuning) * double(tokens);
  }
  double measured(bool decodes, const compute::Tuning& tuning) {
    ++measurements;
    return (decodes ? decode_token_s : prefill_token_s) * factor(decodes, tuning) *
           (1 + noise * double(random.normal()));
  }

  double decode_token_s = 0.01, prefill_token_s = 0.0004, noise = 0;
  std::function<double(bool decodes, const compute::Tuning&)> factor = [](bool, const compute::Tuning&) { return 1.0; };
  int measurements = 0;
  test::Random random{1};
};

compute::Tuning without_costs(compute::Tuning tuning) {
  const compute::Tuning defaults;
  tuning.step_cost = defaults.step_cost, tuning.row_cost = defaults.row_cost;
  return tuning;
}

TEST_F(Tune, KeepsWhatIsFaster) {
  PretendedWork work;
  work.noise = 0.003;
  work.factor = [](bool decodes, const compute::Tuning& t) {
    if (decodes) return t.decode_threads == 2 ? 0.5 : 1.0;
    return (t.chunk_rows == 64 ? 0.8 : 1.0) * (t.group_panels == 4 ? 0.8 : 1.0);
  };
  const TuneResult result = tune(work, 4, {}, {}, go_on_);
  EXPECT_EQ(without_costs(result.best), (compute::Tuning{.decode_threads = 2, .chunk_rows = 64, .group_panels = 4}));
  EXPECT_NEAR(result.measured["decode_gain"].get<double>(), 2, 0.15);
  EXPECT_NEAR(result.measured["prefill_gain"].get<double>(), 1 / 0.64, 0.15);
  EXPECT_TRUE(result.measured["complete"].get<bool>()) << result.measured;
  EXPECT_NEAR(result.best.row_cost, 0.1, 0.02);
}

TEST_F(Tune, WhereNothingIsFasterTheDefaultsStayAndGainNothing) {
  PretendedWork work;
  work.factor = [](bool, const compute::Tuning& t) { return without_costs(t) == compute::Tuning{} ? 1.0 : 1.1; };
  const TuneResult result = tune(work, 4, {}, {}, go_on_);
  EXPECT_EQ(without_costs(result.best), compute::Tuning{});
  EXPECT_NE(result.best, compute::Tuning{}) << "what rows cost is measured all the same";
  EXPECT_EQ(result.measured["decode_gain"], 1.0);
  EXPECT_EQ(result.measured["prefill_gain"], 1.0);
}

TEST_F(Tune, WhatTheDefaultsBeatInTheEndIsGivenUpPartByPart) {
  PretendedWork work;
  // While a trial lasts another program makes one thread look faster; beside the defaults, later, it is slower.
  work.factor = [&work](bool decodes, const compute::Tuning& t) {
    if (decodes) return t.decode_threads == 2 ? 0.8 : 1.0;
    return t.prefill_threads != 1 ? 1.0 : work.measurements < 70 ? 0.5 : 1.4;
  };
  const TuneResult result = tune(work, 4, {.seconds = 60}, {}, go_on_);
  const ordered_json& measured = result.measured;
  ASSERT_EQ(measured["confirmations"].size(), 2u) << measured;
  EXPECT_EQ(measured["confirmations"][0]["settings"], "prefill");
  EXPECT_LT(measured["confirmations"][0]["gain"], 1);
  EXPECT_EQ(without_costs(result.best), compute::Tuning{.decode_threads = 2});
  EXPECT_EQ(measured["prefill_gain"], 1.0);
  EXPECT_NEAR(measured["decode_gain"].get<double>(), 1.25, 1e-9);
}

TEST_F(Tune, NoiseKeepsNothing) {
  int kept = 0;
  constexpr int kMachines = 300;
  for (int machine = 0; machine < kMachines; ++machine) {
    PretendedWork work;
    work.noise = 0.1;
    work.random = test::Random(uint64_t(machine));
    if (without_costs(tune(work, 2, {}, {}, go_on_).best) != compute::Tuning{}) ++kept;
  }
  EXPECT_LT(kept, kMachines / 10);  // about 3 % of either part are expected
}

TEST_F(Tune, WithoutTheTimeToConfirmNothingIsKept) {
  for (double seconds : {1e-9, 0.3, 1.0, 2.0}) {
    PretendedWork work;
    work.decode_token_s = 0.1;
    work.factor = [](bool, const compute::Tuning& t) { return without_costs(t) == compute::Tuning{} ? 1.0 : 0.5; };
    const TuneResult result = tune(work, 4, {.seconds = seconds}, {}, go_on_);
    EXPECT_EQ(without_costs(result.best), compute::Tuning{}) << seconds;
    EXPECT_FALSE(result.measured["complete"].get<bool>());
    EXPECT_EQ(result.measured["decode_gain"], 1.0);
  }
}

TEST_F(Tune, AShortPromptSaysNothingOfPrompts) {
  PretendedWork work;
  work.factor = [](bool decodes, const compute::Tuning& t) {
    return decodes || without_costs(t) == compute::Tuning{} ? 1.0 : 0.5;
  };
  work.prefill_token_s = 0.01;  // 128 tokens in 1.3 s
  const TuneResult slow = tune(work, 4, {}, {}, go_on_);
  EXPECT_EQ(without_costs(slow.best), compute::Tuning{});
  EXPECT_EQ(slow.measured["prompt_tokens"], 0);
  EXPECT_FALSE(slow.measured["complete"].get<bool>());
  work.prefill_token_s = 0.0015;  // 128 tokens fit, 256 do not: steps of 128 to 512 rows are the same
  const TuneResult short_prompt = tune(work, 4, {}, {}, go_on_);
  EXPECT_EQ(short_prompt.measured["prompt_tokens"], 128);
  EXPECT_EQ(short_prompt.best.step_rows, compute::Tuning{}.step_rows);
}

TEST_F(Tune, EveryFormatOfIntegersHasItsOwn) {
  session::LoadOptions load = load_options();
  std::set<std::string> shapes;
  for (const char* weights : {"bf16", "int8", "int4", "int4-asym", "int4-g32", "int4-g32-asym"}) {
    load.weights = *model::parse_weight_choice(weights);
    shapes.insert(session::Session::load(load)->tuned_for().shape);
  }
  EXPECT_EQ(shapes.size(), 6u) << testing::PrintToString(shapes);
}

TEST_F(Tune, AFolderThatCannotBeMadeIsNamedWithTheReason) {
  const std::string text = test::error_text([] { session::make_tuning_folder("/proc/nowhere/tuning"); });
  for (const char* part : {"/proc/nowhere/tuning", "No such file", "UPDRAFT_CACHE"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST_F(Tune, StaleAndDamagedResultsAreAsIfThereWereNone) {
  const std::string kept = (folder_.path() / "tuning").string();
  const session::TunedFor what{"0.1", "some processor", "avx512", 8, "hidden=96"};
  const compute::Tuning tuning{.decode_threads = 3, .chunk_rows = 128};
  session::write_tuning(kept, what, tuning, "{}");
  EXPECT_EQ(session::read_tuning(kept, what), tuning);
  for (session::TunedFor other : {what, what, what, what, what}) {
    static int field = 0;
    switch (field++) {
      case 0:
        other.version = "0.2";
        break;
      case 1:
        other.processor = "another";
        break;
      case 2:
        other.path = "avx2";
        break;
      case 3:
        other.threads = 9;
        break;
      default:
        other.shape = "hidden=97";
        break;
    }
    EXPECT_FALSE(session::read_tuning(kept, other).has_value()) << field;
  }
  std::ifstream in(session::tuning_path(kept, what));
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const auto replace = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    std::ofstream(session::tuning_path(kept, what)) << text;
    EXPECT_FALSE(session::read_tuning(kept, what).has_value()) << to;
  };
  replace("\"chunk_rows\": 128", "\"chunk_rows\": 100000");
  replace("\"chunk_rows\": 128", "\"chunk_rows\": \"128\"");
  replace("\"decode_threads\": 3", "\"decode_threads\": 9");
  replace("\"group_panels\": 8", "\"group_panels\": 7");
  replace("\"step_rows\": 512", "\"steps\": 512");
  replace("\"some processor\"", "\"another\"");
  replace("\"for\": {", "\"for\": " + std::string(1 << 20, '[') + std::string(1 << 20, ']') + ", \"was\": {");
  std::filesystem::create_directory(kept + "/folder");
  EXPECT_THAT(session::tuned_shapes(kept), testing::IsEmpty());
  for (size_t cut = 0; cut + 4 < good.size(); cut += 40) {
    std::ofstream(session::tuning_path(kept, what)) << good.substr(0, cut);
    EXPECT_FALSE(session::read_tuning(kept, what).has_value()) << cut;
  }
}

}  // namespace
}  // namespace updraft::measure
