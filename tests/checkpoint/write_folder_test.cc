// write_folder: what is written opens again with identical bytes; a place is never half written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder_writer.h"
#include "tests/support/error_text.h"
#include "tests/support/goldens.h"
#include "tests/support/threads.h"

namespace updraft::checkpoint {
namespace {

namespace fs = std::filesystem;

class WriteFolder : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(base_); }
  void TearDown() override { fs::remove_all(base_); }

  fs::path base_ = fs::path(testing::TempDir()) / ("write_folder_" + std::to_string(getpid()));
  fs::path folder_ = base_ / "model";
};

std::vector<std::byte> all_bytes(const Checkpoint& checkpoint, const TensorInfo& info, DType dtype) {
  const int64_t rows = info.shape.size() == 2 ? info.shape[0] : 1;
  const RowSourcePtr source = convert(checkpoint.find(info.name, rows, info.shape.back()), dtype);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * source->row_bytes()));
  source->read_rows(0, rows, bytes.data());
  return bytes;
}

void expect_same(const Checkpoint& ours, const Checkpoint& written, DType dtype) {
  EXPECT_EQ(ours.tensors().size(), written.tensors().size());
  for (const TensorInfo& info : ours.tensors()) {
    const TensorInfo* other = written.info(info.name);
    ASSERT_NE(other, nullptr) << info.name;
    EXPECT_EQ(info.shape, other->shape) << info.name;
    EXPECT_TRUE(all_bytes(ours, info, dtype) == all_bytes(written, *other, dtype)) << info.name;
  }
  EXPECT_EQ(written.natural_dtype(), dtype);
  EXPECT_EQ(to_json(ours.config(), dtype), to_json(written.config(), dtype));
  EXPECT_EQ(ours.generation_config().eos_ids, written.generation_config().eos_ids);
}

int shards_in(const fs::path& folder) {
  int shards = 0;
  for (const auto& entry : fs::directory_iterator(folder)) shards += entry.path().extension() == ".safetensors";
  return shards;
}

TEST_F(WriteFolder, SyntheticModelsComeBackByteForByte) {
  for (const char* spec : {"tiny", "qwen2-0.5b:hidden=64,intermediate=96,layers=2,vocabulary=77,heads=4,head_dim=16",
                           "qwen3-8b:hidden=64,intermediate=96,layers=3,vocabulary=50,heads=4,kv_heads=2,head_dim=32"})
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32})
      for (const int64_t shard_bytes : {int64_t(1) << 30, int64_t(50000), int64_t(1)}) {
        const auto model = make_synthetic(parse_synthetic(spec));
        int64_t reported = 0, announced = 0;
        write_folder(*model, folder_, dtype, shard_bytes, [&](int64_t done, int64_t total) {
          EXPECT_GE(done, reported);
          reported = done, announced = total;
        });
        EXPECT_EQ(reported, announced);
        EXPECT_GT(reported, 0);
        const int shards = shards_in(folder_);
        EXPECT_TRUE(shard_bytes == 1      ? shards == int(model->tensors().size())
                    : shard_bytes > 50000 ? shards == 1
                                          : shards > 1);
        EXPECT_EQ(fs::exists(folder_ / "model.safetensors.index.json"), shards > 1);
        expect_same(*model, *open_checkpoint(folder_), dtype);
        fs::remove_all(folder_);
      }
}

TEST_F(WriteFolder, GoldenGgufModelsBecomeFolders) {
  for (const char* name : {"llama", "llama3", "mistral", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    const auto model = open_checkpoint(test::find_golden(std::string("gguf/") + name + ".gguf"));
    write_folder(*model, folder_, DType::kF32, 40000, {});
    expect_same(*model, *open_checkpoint(folder_), DType::kF32);
    fs::remove_all(folder_);
  }
}

TEST_F(WriteFolder, AFoldersTokenizerIsCopied) {
  write_folder(*make_synthetic(parse_synthetic("tiny")), folder_, DType::kF32, 1 << 20, {});
  std::ofstream(folder_ / "tokenizer.json") << "{}";
  write_folder(*open_checkpoint(folder_), base_ / "copy", DType::kF16, 1 << 20, {});
  EXPECT_EQ(read_text_file(base_ / "copy" / "tokenizer.json"), "{}");
  expect_same(*open_checkpoint(folder_), *open_checkpoint(base_ / "copy"), DType::kF16);
}

TEST_F(WriteFolder, NothingIsOverwritten) {
  const auto model = make_synthetic(parse_synthetic("tiny"));
  fs::create_directories(folder_);
  write_folder(*model, folder_, DType::kF32, 1 << 20, {});  // an empty folder is fine
  EXPECT_THROW(write_folder(*model, folder_, DType::kF32, 1 << 20, {}), Error);
  std::ofstream(base_ / "file") << "x";
  EXPECT_THROW(write_folder(*model, base_ / "file", DType::kF32, 1 << 20, {}), Error);
  EXPECT_THROW(write_folder(*model, base_ / "file" / "below", DType::kF32, 1 << 20, {}), Error);
  EXPECT_THROW(write_folder(*model, base_ / "none", DType::kF32, 0, {}), Error);
}

// The folder in which the work is done is cleared first: only what a run that was killed can have left there.
TEST_F(WriteFolder, WhatSomebodyElsePutInThePartialFolderIsNotRemoved) {
  const auto model = make_synthetic(parse_synthetic("tiny"));
  const fs::path partial = folder_.string() + ".partial", precious = base_ / "precious";
  fs::create_directories(partial);
  std::ofstream(partial / "thesis.txt") << "keep";
  const auto error = [&] { return test::error_text([&] { write_folder(*model, folder_, DType::kF32, 1 << 20, {}); }); };
  EXPECT_THAT(error(), testing::HasSubstr("model.partial: is there already and holds thesis.txt"));
  EXPECT_EQ(read_text_file(partial / "thesis.txt"), "keep");
  fs::remove_all(partial);
  write_folder(*model, partial, DType::kF32, 1 << 20, {});  // a whole model of that name
  EXPECT_THAT(error(), testing::HasSubstr("holds config.json"));
  expect_same(*model, *open_checkpoint(partial), DType::kF32);
  fs::remove_all(partial);
  fs::create_directories(precious);
  fs::create_directory_symlink(precious, partial);
  EXPECT_THAT(error(), testing::HasSubstr("is no folder"));
  EXPECT_TRUE(fs::is_symlink(partial));
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(WriteFolder, AFolderBesideALinksTargetIsThere) {
  const auto model = make_synthetic(parse_synthetic("tiny"));
  fs::create_directories(base_ / "far" / "away");
  fs::create_directory_symlink(base_ / "far" / "away", base_ / "link");
  write_folder(*model, base_ / "link" / ".." / "out", DType::kF32, 1 << 20, {});
  expect_same(*model, *open_checkpoint(base_ / "far" / "out"), DType::kF32);
}

TEST_F(WriteFolder, ALinkToAnEmptyFolderStaysOneAndOneToNothingIsRefusedFirst) {
  const auto model = make_synthetic(parse_synthetic("tiny"));
  fs::create_directories(base_ / "disk" / "real");
  fs::create_directory_symlink("disk/real", base_ / "link");
  write_folder(*model, base_ / "link" / "", DType::kF32, 1 << 20, {});
  EXPECT_TRUE(fs::is_symlink(base_ / "link"));
  expect_same(*model, *open_checkpoint(base_ / "disk" / "real"), DType::kF32);
  EXPECT_FALSE(fs::exists(base_ / "link.partial"));
  EXPECT_THAT(test::error_text([&] { write_folder(*model, base_ / "link", DType::kF32, 1 << 20, {}); }),
              testing::HasSubstr("not an empty folder"));

  fs::create_directory_symlink("disk/none", base_ / "dangling");
  const auto not_begun = [](int64_t, int64_t) { ADD_FAILURE() << "it was refused after some work"; };
  EXPECT_THAT(test::error_text([&] { write_folder(*model, base_ / "dangling", DType::kF32, 1 << 20, not_begun); }),
              testing::AllOf(testing::HasSubstr("disk/none, which does not exist"), testing::HasSubstr("remove")));
  EXPECT_FALSE(fs::exists(base_ / "dangling.partial"));
}

// A file system of its own is where every container has one.
TEST_F(WriteFolder, AMountPointIsRefusedFirst) {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string device, place, rest; mounts >> device >> place && std::getline(mounts, rest);) {
    std::error_code ignored;
    if (place == "/" || !fs::is_directory(place, ignored) || !fs::is_empty(place, ignored)) continue;
    const auto model = make_synthetic(parse_synthetic("tiny"));
    const auto not_begun = [](int64_t, int64_t) { ADD_FAILURE() << "it was refused after some work"; };
    EXPECT_THAT(test::error_text([&] { write_folder(*model, place, DType::kF32, 1 << 20, not_begun); }),
                testing::AllOf(testing::HasSubstr("mounted"), testing::HasSubstr(place + "/model")));
    return;
  }
  GTEST_SKIP() << "no empty file system is mounted here";
}

TEST_F(WriteFolder, TheDisksFiguresDiffer) {
  EXPECT_EQ(test::error_text([] { check_space("out", 5, 5); }), "");
  const auto error = [](int64_t free_bytes) {
    return test::error_text([&] { check_space("out", free_bytes, 230'000'000); });
  };
  EXPECT_EQ(error(0),
            "out: the disk has 0.0 GB free, but the model needs 0.2 GB; free some space or choose another place.");
  EXPECT_THAT(error(229'900'000), testing::HasSubstr("has 0.2299 GB free, but the model needs 0.2300 GB"));
  EXPECT_THAT(error(229'999'999), testing::HasSubstr("has 0.229999999 GB free"));
}

TEST_F(WriteFolder, ThreadsAreAsManyAsAsked) {
  for (const int asked : {1, 3}) {
    const std::set<std::string> before = test::threads_of_this_process();
    size_t most = 0;
    const auto count = [&](int64_t, int64_t) { most = std::max(most, test::threads_since(before).size()); };
    write_folder(*make_synthetic(parse_synthetic("tiny")), folder_, DType::kF32, 1 << 20, count, asked);
    EXPECT_EQ(most, size_t(asked - 1));
    fs::remove_all(folder_);
  }
}

TEST_F(WriteFolder, AFailureLeavesNothing) {
  const auto model = make_synthetic(parse_synthetic("tiny"));
  const auto fail_late = [](int64_t done, int64_t total) {
    if (done > total / 2) throw Error("stopped by the test");
  };
  EXPECT_THROW(write_folder(*model, folder_, DType::kF32, 1 << 16, fail_late), Error);
  EXPECT_TRUE(fs::is_empty(base_));
}

TEST_F(WriteFolder, AModelLargerThanTheDiskIsRefusedFirst) {
  const auto model = make_synthetic(parse_synthetic("llama-3-8b:layers=60000"));
  try {
    write_folder(*model, folder_, DType::kF32, int64_t(5) << 30, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("GB free"));
  }
  EXPECT_TRUE(fs::is_empty(base_));
}

TEST_F(WriteFolder, AKilledRunLeavesNoFolderThatLooksCompleteAndTheNextOneSucceeds) {
  const pid_t child = fork();
  if (child == 0) {
    const auto model = make_synthetic(parse_synthetic("tiny"));
    write_folder(*model, folder_, DType::kF32, 1 << 16, [](int64_t done, int64_t total) {
      if (done > total / 2) _exit(9);
    });
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 9);
  EXPECT_FALSE(fs::exists(folder_));
  EXPECT_TRUE(fs::exists(base_ / "model.partial"));
  EXPECT_FALSE(fs::exists(base_ / "model.partial" / "config.json"));
  EXPECT_THROW(open_checkpoint(base_ / "model.partial"), Error);
  const auto model = make_synthetic(parse_synthetic("tiny"));
  write_folder(*model, folder_, DType::kBF16, 1 << 16, {});
  EXPECT_FALSE(fs::exists(base_ / "model.partial"));
  expect_same(*model, *open_checkpoint(folder_), DType::kBF16);
}

}  // namespace
}  // namespace updraft::checkpoint
