// Tuning: no setting changes a bit; results are kept per machine and shape, and nothing else is believed.
#include "measure/tune.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "base/hash.h"
#include "session/tuning.h"
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
  const TuneOptions options{.seconds = 3, .prompt_tokens = 64, .depth = 32, .rounds = 2};
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
  for (size_t cut = 0; cut + 4 < good.size(); cut += 40) {
    std::ofstream(session::tuning_path(kept, what)) << good.substr(0, cut);
    EXPECT_FALSE(session::read_tuning(kept, what).has_value()) << cut;
  }
}

}  // namespace
}  // namespace updraft::measure
