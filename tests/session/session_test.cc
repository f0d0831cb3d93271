// What a session says of the model it opened.
#include "session/session.h"

#include <gtest/gtest.h>

namespace updraft::session {
namespace {

TEST(ModelName, IsThatOfTheFolderFileOrRepository) {
  const std::string cache = "/home/x/.cache/huggingface/hub/models--";
  EXPECT_EQ(model_name("/models/Mistral-7B"), "Mistral-7B");
  EXPECT_EQ(model_name("/models/Mistral-7B/"), "Mistral-7B");
  EXPECT_EQ(model_name("/models/a.Q4_0.gguf"), "a.Q4_0.gguf");
  EXPECT_EQ(model_name(cache + "Qwen--Qwen2.5-0.5B/snapshots/0123456789"), "Qwen/Qwen2.5-0.5B");
  EXPECT_EQ(model_name(cache + "gpt2/snapshots/0123456789/"), "gpt2");
  EXPECT_EQ(model_name(cache + "org--x/snapshots/0123456789/x.gguf"), "x.gguf");
  EXPECT_EQ(model_name("/models/snapshots/0123456789"), "0123456789");
}

}  // namespace
}  // namespace updraft::session
