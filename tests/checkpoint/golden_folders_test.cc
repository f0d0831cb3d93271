// Every folder of ../shared/models/tiny opens, and every byte of every tensor is the one that the oracle found
// (tools/make_tensor_goldens.py).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "checkpoint/folder.h"
#include "checkpoint/stored_tensor.h"
#include "tests/support/crc32.h"
#include "tests/support/goldens.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

nlohmann::json read_json(const std::filesystem::path& path) { return nlohmann::json::parse(std::ifstream(path)); }

// Reads the rows in ranges of random length, as loaders do.
std::vector<std::byte> read_in_ranges(const RowSource& rows, std::mt19937& random) {
  std::vector<std::byte> bytes(size_t(rows.rows() * rows.row_bytes()));
  for (int64_t begin = 0; begin < rows.rows();) {
    const int64_t end = std::min<int64_t>(rows.rows(), begin + 1 + int64_t(random() % 50));
    rows.read_rows(begin, end, bytes.data() + begin * rows.row_bytes());
    begin = end;
  }
  return bytes;
}

TEST(GoldenFolders, EveryTensorHasTheOraclesBytes) {
  std::mt19937 random(test::run_seed());
  const nlohmann::json goldens =
      read_json(std::filesystem::path(UPDRAFT_SOURCE_DIR) / "tests/golden/checkpoint/tensors.json");
  int folders = 0;
  for (const auto& [name, tensors] : goldens.items()) {
    const auto folder = test::find_golden("tiny/" + name);
    if (folder.empty()) continue;
    SCOPED_TRACE(name);
    ++folders;
    const auto checkpoint = open_folder(folder);
    EXPECT_EQ(checkpoint->tensors().size(), tensors.size());
    for (const auto& [tensor, golden] : tensors.items()) {
      SCOPED_TRACE(tensor);
      const TensorInfo* info = checkpoint->info(tensor);
      ASSERT_NE(info, nullptr);
      EXPECT_EQ(info->stored_type, golden[0]);
      EXPECT_EQ(nlohmann::json(info->shape), golden[1]);
      const bool vector = info->shape.size() == 1;
      const auto rows = checkpoint->find(tensor, vector ? 1 : info->shape[0], info->shape.back());
      EXPECT_EQ(test::crc32(read_in_ranges(*rows, random)), golden[2].get<uint32_t>());
    }
  }
  EXPECT_GE(folders, 5);
}

TEST(GoldenFolders, ConfigsAreUnderstood) {
  const auto open = [](const char* name) { return open_folder(test::find_golden(std::string("tiny/") + name)); };
  const auto mistral = open("mistral-bf16");
  EXPECT_EQ(mistral->container(), "safetensors");
  EXPECT_EQ(mistral->natural_dtype(), DType::kBF16);
  EXPECT_EQ(mistral->config().head_dim, 16);
  EXPECT_EQ(mistral->config().rope.theta, 1e6);
  EXPECT_EQ(mistral->config().windows, std::vector<int>(3, 0));
  EXPECT_EQ(mistral->generation_config().eos_ids, std::vector<int32_t>{2});

  const auto bin = open("mistral-bin-sharded");
  EXPECT_EQ(bin->container(), "pytorch_model.bin");
  EXPECT_EQ(bin->natural_dtype(), DType::kBF16);

  const auto odd = open("mistral-head-dim");
  EXPECT_EQ(odd->config().head_dim, 32);
  EXPECT_EQ(odd->config().query_heads, 5);
  EXPECT_EQ(odd->natural_dtype(), DType::kF16);

  const auto qwen = open("qwen2");
  EXPECT_TRUE(qwen->config().qkv_bias);
  EXPECT_FALSE(qwen->config().attention_output_bias);
  EXPECT_FALSE(qwen->config().query_key_norm);

  const auto dynamic = open("llama-rope-dynamic");
  EXPECT_EQ(dynamic->config().rope.kind, RopeKind::kDynamic);
  EXPECT_EQ(dynamic->config().rope.factor, 2);
  EXPECT_EQ(dynamic->config().max_context, 32);
}

// What parameters() counts is what the files hold.
TEST(GoldenFolders, ParametersAreCountedFromTheConfig) {
  int folders = 0;
  for (const char* name :
       {"llama-bias", "llama-rope-dynamic", "llama-tied", "mistral-bf16", "mistral-head-dim", "qwen2", "qwen3"}) {
    const auto folder = test::find_golden(std::string("tiny/") + name);
    if (folder.empty()) continue;
    SCOPED_TRACE(name);
    ++folders;
    const auto checkpoint = open_folder(folder);
    int64_t stored = 0;
    for (const TensorInfo& tensor : checkpoint->tensors()) stored += *element_count(tensor.shape);
    EXPECT_EQ(checkpoint->config().parameters(), stored);
  }
  EXPECT_GE(folders, 4);
}

}  // namespace
}  // namespace updraft::checkpoint
