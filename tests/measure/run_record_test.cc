// The hash that names a model in records and states: another model has another one, and a note beside it changes
// nothing.
#include "measure/run_record.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temporary_folder.h"

namespace updraft::measure {
namespace {

namespace fs = std::filesystem;

class ModelHash : public testing::Test {
 protected:
  void SetUp() override {
    session::LoadOptions source;
    source.synthetic = folder_
                           .write("config.json",
                                  R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512,
                       "intermediate_size": 2048, "num_attention_heads": 4, "num_key_value_heads": 2,
                       "num_hidden_layers": 3, "vocab_size": 3000, "max_position_embeddings": 512,
                       "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
                       "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"})")
                           .string();
    options_.model = (folder_.path() / "model").string();
    checkpoint::write_folder(*session::open_model(source), options_.model, DType::kBF16, 1 << 30,
                             [](int64_t, int64_t) {});
    model_ = session::open_model(options_);
  }

  std::string hash() const { return model_hash(*model_, options_); }
  fs::path file(const char* name) const { return fs::path(options_.model) / name; }

  test::TemporaryFolder folder_;
  session::LoadOptions options_;
  std::unique_ptr<checkpoint::Checkpoint> model_;
};

TEST_F(ModelHash, SeesWhatIsFarFromBothEndsOfALargeFile) {
  const int64_t size = int64_t(fs::file_size(file("model.safetensors")));
  constexpr int64_t kEnd = 4 << 20, kPieces = 256;
  ASSERT_GT(size, 5 * kEnd);
  std::string seen = hash();
  std::fstream weights(file("model.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
  // As wide as the pieces are apart: wherever it lies, one of them meets it.
  const std::string other(size_t(size / kPieces), 'x');
  for (int64_t at = kEnd; at < size - kEnd; at += int64_t(other.size()) * 9) {
    weights.seekp(at).write(other.data(), int64_t(other.size())).flush();
    ASSERT_TRUE(weights.good());
    const std::string now = hash();
    EXPECT_NE(now, seen) << at << " of " << size;
    seen = now;
  }
}

TEST_F(ModelHash, IsOfWhatMakesTheModelAlone) {
  const std::string before = hash();
  for (const char* beside : {"README.md", "eval.json", "record.json", "report.html", ".gitattributes", "notes.txt"}) {
    std::ofstream(file(beside)) << "beside the model";
    EXPECT_EQ(hash(), before) << beside;
  }
  std::string seen = before;
  for (const char* part : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "quantize_config.json",
                           "model.safetensors.index.json", "config.json", "generation_config.json"}) {
    std::ofstream(file(part), std::ios::app) << "\n";
    const std::string now = hash();
    EXPECT_NE(now, seen) << part;
    seen = now;
  }
}

}  // namespace
}  // namespace updraft::measure
