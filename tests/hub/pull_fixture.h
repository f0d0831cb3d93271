// PullTest: a repository of two shards to be pulled from servers that a test makes, in a folder of its own, with
// patience for fractions of a second.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "hub/pull.h"
#include "tests/hub/fake_hub.h"
#include "tests/support/temporary_folder.h"

namespace updraft::hub::test {

using testing::HasSubstr;
using updraft::test::TemporaryFolder;

constexpr int64_t kShardBytes = (3 << 20) + 12345;

class PullTest : public testing::Test {
 protected:
  PullTest() {
    repository_.add("config.json", "{\"model_type\": \"x\"}");
    repository_.add("tokenizer.json", "{\"a\": \"tokenizer\"}");
    repository_.add("empty tokenizer.json", "");
    repository_.add("README.md", "not needed");
    repository_.add(
        "model.safetensors.index.json",
        R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
    repository_.add_large("model-00001-of-00002.safetensors", kShardBytes, 1);
    repository_.add_large("model-00002-of-00002.safetensors", kShardBytes + 1, 2);
    repository_.add_large("pytorch_model.bin", 10'000'000, 3);
  }
  PullOptions options(std::vector<std::string> endpoints) const {
    PullOptions options;
    options.repository = repository_.id;
    options.cache = folder_.path() / "hub";
    options.sources.endpoints = std::move(endpoints);
    options.transfer.piece_bytes = 256 << 10;
    options.transfer.connections = 4;
    options.transfer.patience = {4, 0.01, 0.05, 3};
    options.transfer.http.stall_s = 1;
    options.transfer.http.connect_s = 2;
    options.transfer.message = [this](const std::string& sentence) { messages_ += sentence + "\n"; };
    return options;
  }
  static Refusal refusal(const PullOptions& options, std::string* text = nullptr) {
    try {
      pull(options);
    } catch (const HubError& error) {
      if (text) *text = error.what();
      return error.refusal();
    }
    return Refusal(0);
  }
  void expect_right(const fs::path& folder,
                    std::vector<std::string> names = {"config.json", "tokenizer.json", "model.safetensors.index.json",
                                                      "model-00001-of-00002.safetensors",
                                                      "model-00002-of-00002.safetensors"}) const {
    for (const std::string& name : names) {
      const FakeFile& file = repository_.files.at(name);
      ASSERT_TRUE(is_there(folder / name)) << name;
      EXPECT_EQ(file_digest(folder / name, file.sha256), file.sha256) << name;
    }
  }
  // The first `times` requests for bytes of weights go wrong.
  static FakeHub::Misbehave first(int times, Fault fault) {
    auto left = std::make_shared<std::atomic<int>>(times);
    return [left, fault](const FakeRequest& request) {
      return request.body && request.path.find("model-0000") != std::string::npos && (*left)-- > 0 ? fault : Fault{};
    };
  }
  int64_t needed_bytes() const { return 2 * kShardBytes + 1; }

  TemporaryFolder folder_;
  FakeRepository repository_;
  mutable std::string messages_;
};

}  // namespace updraft::hub::test
