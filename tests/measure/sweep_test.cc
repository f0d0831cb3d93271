#include "measure/sweep.h"

#include <gtest/gtest.h>

#include "measure/local_target.h"
#include "measure/report_rows.h"
#include "measure/run_record.h"
#include "tests/support/error_text.h"
#include "tests/support/temporary_folder.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

class SmallModel : public testing::Test {
 protected:
  void load(int64_t kv_tokens, int64_t max_sequences) {
    options_.synthetic = folder_
                             .write("config.json",
                                    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
                       "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
                       "num_hidden_layers": 2, "vocab_size": 300, "max_position_embeddings": 512,
                       "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
                       "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"})")
                             .string();
    options_.threads = 2;
    options_.kv_tokens = kv_tokens;
    options_.max_sequences = max_sequences;
    options_.prefix_reuse = false;
    session_ = session::Session::load(options_);
  }

  test::TemporaryFolder folder_;
  session::LoadOptions options_;
  std::unique_ptr<session::Session> session_;
  const std::atomic<bool> go_on_{false};
};

TEST_F(SmallModel, SyntheticAndRealFillRun) {
  SweepOptions sweep;
  sweep.prompts = {1, 40};
  sweep.depths = {0, 130};
  sweep.batches = {1, 3};
  sweep.decode_tokens = 3;
  sweep.samples = 2;
  load(sweep_kv_tokens(sweep), 3);
  for (bool synthetic : {true, false}) {
    sweep.synthetic_fill = synthetic;
    const ordered_json points = run_sweep(*session_, sweep, 1e15, {}, go_on_);
    ASSERT_EQ(points.size(), 6u);
    EXPECT_EQ(points[1]["prompt_tokens"], 40);
    EXPECT_EQ(points[1]["samples_s"].size(), 2u);
    EXPECT_EQ(points[2]["depth_fill"], "none");
    EXPECT_EQ(points[5]["depth_fill"], synthetic ? "synthetic" : "prefill");
    EXPECT_EQ(points[5]["depth"], 130);
    EXPECT_EQ(points[5]["batch"], 3);
    for (const ordered_json& point : points) {
      const char* rate = point["kind"] == "prefill" ? "prefill_tokens_per_second" : "decode_tokens_per_second";
      EXPECT_GT(point[rate]["median"].get<double>(), 0);
      EXPECT_TRUE(point.value("of_plain_read", ordered_json()).is_null());  // the weights lie in a cache
    }
    // K and V of 3 sequences, 2 layers, 2 heads of 8, F16, at depth 130 + 1.5: what batch 3 adds to batch 1.
    EXPECT_DOUBLE_EQ(points[5]["bytes_per_step"].get<double>() - points[4]["bytes_per_step"].get<double>(),
                     2 * 131.5 * 2 * 2 * 2 * 8 * 2);
  }
}

TEST_F(SmallModel, RowsOfOneStepAreTimedBesideOneRow) {
  SweepOptions sweep;
  sweep.depths = {0, 70};
  sweep.rows = {1, 4, 9};
  sweep.decode_tokens = 2;
  sweep.samples = 3;
  load(sweep_kv_tokens(sweep), 9);
  const ordered_json points = run_sweep(*session_, sweep, 1e15, {}, go_on_);
  ASSERT_EQ(points.size(), 6u);
  EXPECT_EQ(points[5]["kind"], "rows");
  EXPECT_EQ(points[5]["depth"], 70);
  EXPECT_EQ(points[5]["rows"], 9);
  EXPECT_EQ(points[5]["samples_s"].size(), 3u);
  for (const ordered_json& point : points) EXPECT_GT(point["times_one_row"].get<double>(), 0);
  for (int i : {0, 3}) {
    EXPECT_EQ(points[i]["rows"], 1);
    EXPECT_EQ(points[i]["times_one_row"], 1.0) << "one row beside itself";
  }
}

TEST_F(SmallModel, SpeculationIsMeasuredBesidePlainDecoding) {
  load(2048, 1);
  Protocol protocol;
  protocol.warmup_runs = 0;
  protocol.timed_runs = 2;
  protocol.max_new_tokens = 60;
  protocol.tasks = {"edit", "logic"};
  protocol.speculate = true;
  LocalTarget target(*session_, go_on_);
  ordered_json tasks = run_protocol(target, protocol, {}, [] { return true; });
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[1]["id"], "edit");
  add_bandwidth(*session_, 1e9, tasks);
  for (const ordered_json& task : tasks) {
    const ordered_json& guesses = task["speculation"];
    EXPECT_EQ(guesses["plain_samples_s"].size(), 2u);
    EXPECT_GT(guesses["speedup"].get<double>(), 0);
    EXPECT_GE(guesses["tokens_per_step"].get<double>(), 1);
    EXPECT_LE(guesses["accepted"], guesses["proposed"]);
    EXPECT_TRUE(task["bandwidth_fraction"].is_null());
  }
  const ordered_json average = average_row(tasks);
  EXPECT_GT(average["speculation"]["speedup"].get<double>(), 0);
  const ordered_json record = {{"protocol", {{"speculate", true}}}, {"tasks", tasks}, {"average", average}};
  for (Language language : {Language::kEnglish, Language::kChinese}) {
    const TableText table = task_table(record, language);
    ASSERT_EQ(table.rows.size(), 3u);
    for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.header.size());
  }
}

TEST_F(SmallModel, ASweepBeyondTheCacheIsRefused) {
  load(64, 1);
  SweepOptions sweep;
  sweep.depths = {4096};
  sweep.batches = {1};
  EXPECT_NE(test::error_text([&] { run_sweep(*session_, sweep, 1e12, {}, go_on_); }).find("--depth"),
            std::string::npos);
}

TEST_F(SmallModel, TheSweepLeavesTheModelAsItWas) {
  SweepOptions sweep;
  sweep.depths = {70};
  sweep.batches = {2};
  sweep.samples = 1;
  load(sweep_kv_tokens(sweep), 2);
  const std::vector<int32_t> ids = {1, 5, 250, 17};
  const std::string before = logits_hash(*session_, ids);
  run_sweep(*session_, sweep, 1e15, {}, go_on_);
  EXPECT_EQ(logits_hash(*session_, ids), before);
  EXPECT_NE(logits_hash(*session_, {1, 5, 250, 18}), before);
}

TEST_F(SmallModel, TasksRunAndAreCounted) {
  load(2048, 1);
  LocalTarget target(*session_, go_on_);
  Protocol protocol;
  protocol.warmup_runs = 1, protocol.timed_runs = 2, protocol.max_new_tokens = 5;
  protocol.tasks = {"logic", "chinese_qa"};
  ordered_json tasks = run_protocol(target, protocol, {}, [] { return true; });
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0]["id"], "chinese_qa") << "the article's order";
  EXPECT_EQ(tasks[1]["new_tokens"], 5);
  EXPECT_EQ(tasks[1]["samples"].size(), 2u);
  EXPECT_EQ(tasks[1]["samples"][0]["token_times_s"].size(), 5u);
  add_bandwidth(*session_, 1e15, tasks);
  EXPECT_TRUE(tasks[0]["cache_resident"].get<bool>());
  EXPECT_TRUE(tasks[0]["bandwidth_fraction"].is_null());
  EXPECT_NE(tasks[0]["logits_hash"], tasks[1]["logits_hash"]);
  int calls = 0;
  EXPECT_EQ(run_protocol(target, protocol, {}, [&] { return ++calls <= 4; }).size(), 1u)
      << "stopped in the second task";
  protocol.tasks = {"juggling"};
  EXPECT_NE(test::error_text([&] { prompts_hash(protocol); }).find("juggling"), std::string::npos);
}

TEST_F(SmallModel, TheModelsHashIsOfItsShapeAndSeed) {
  load(64, 1);
  const std::string hash = model_hash(session_->checkpoint(), options_);
  EXPECT_EQ(hash, model_hash(session_->checkpoint(), options_));
  options_.synthetic_seed = 2;
  EXPECT_NE(hash, model_hash(session_->checkpoint(), options_));
}

}  // namespace
}  // namespace updraft::measure
