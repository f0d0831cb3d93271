// What a session says of the model it opened, of its prompt, and of what memory cannot hold.
#include "session/session.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "tests/support/error_text.h"

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

LoadOptions small_steps() {
  LoadOptions options;
  options.synthetic = "tiny";
  options.max_rows = 64;
  options.max_sequences = 1;
  options.context = 512;
  return options;
}

TextRequest request_of(std::vector<int32_t> ids) {
  TextRequest request;
  request.ids = std::move(ids);
  request.max_new_tokens = 4;
  request.ignore_eos = true;
  return request;
}

std::vector<int64_t> read_prompt(Session& session, const std::vector<int32_t>& ids) {
  std::vector<int64_t> done;
  session.generate(request_of(ids), nullptr, [&](const Progress& progress) {
    EXPECT_EQ(progress.total, int64_t(ids.size()));
    done.push_back(progress.done);
  });
  return done;
}

TEST(Session, TellsHowMuchOfThePromptIsRead) {
  const auto session = Session::load(small_steps());
  std::vector<int32_t> ids(200);
  std::iota(ids.begin(), ids.end(), 1);
  // Steps of 64 rows through two layers.
  EXPECT_EQ(read_prompt(*session, ids), (std::vector<int64_t>{0, 32, 64, 96, 128, 160, 192, 196, 200}));
  // All but the last token is kept from before: one row.
  EXPECT_EQ(read_prompt(*session, ids), (std::vector<int64_t>{0, 200}));
}

TEST(Session, StopsInTheMiddleOfAStepAndGoesOnWithTheSameBits) {
  const auto session = Session::load(small_steps()), other = Session::load(small_steps());
  std::vector<int32_t> ids(100);
  std::iota(ids.begin(), ids.end(), 1);
  const TextAnswer whole = other->generate(request_of(ids));
  // In the first step; after it; in the second, of 36 rows, after the page that is kept from the time before.
  for (const auto& [stop_at, rows_kept] : {std::pair{32, 0}, {64, 64}, {18, 0}}) {
    std::atomic<bool> cancelled = false;
    const int64_t rows_before = session->engine().statistics().rows;
    const TextAnswer stopped = session->generate(request_of(ids), &cancelled, [&, at = stop_at](const Progress& read) {
      if (read.done >= at) cancelled = true;
    });
    EXPECT_EQ(stopped.answer.finish_reason, engine::FinishReason::kCancelled);
    EXPECT_TRUE(stopped.answer.ids.empty());
    const engine::EngineStatistics statistics = session->engine().statistics();
    EXPECT_EQ(statistics.rows - rows_before, rows_kept) << stop_at;
    EXPECT_EQ(statistics.pages_free + statistics.pages_cached, statistics.pages_total);
  }
  EXPECT_EQ(session->generate(request_of(ids)).answer.ids, whole.answer.ids);
}

TEST(Session, ADroppedGenerationLeavesTheOthersTheirWork) {
  LoadOptions options = small_steps();
  options.max_sequences = 2;
  const auto session = Session::load(options);
  const auto kept = session->submit(request_of({1, 2, 3}));
  auto dropped = session->submit(request_of({4, 5, 6}));
  dropped.reset();
  EXPECT_EQ(session->engine().statistics().rows, 0) << "a step was computed for the other one";
  while (!kept->finished()) session->engine().step();
  EXPECT_EQ(kept->take().answer.ids.size(), 4u);
}

TEST(Session, MaxLengthCountsThePromptWhereNewTokensAreNotLimited) {
  const auto session = Session::load(small_steps());
  TextRequest request = request_of({1, 2, 3});
  request.max_length = 5;
  EXPECT_EQ(session->generate(request).answer.ids.size(), 4u);
  request.max_new_tokens.reset();
  EXPECT_EQ(session->generate(request).answer.ids.size(), 2u);
  request.max_length = 3;
  EXPECT_NE(test::error_text([&] { session->generate(request); }).find("max_length"), std::string::npos);
}

std::string refusal(const LoadOptions& options) {
  try {
    Session::load(options);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Session, RefusesWhatMemoryCannotHold) {
  LoadOptions weights = small_steps();
  weights.synthetic = "mistral-7b:layers=64,intermediate=4000000";
  weights.weights.dtype = DType::kF32;
  EXPECT_NE(refusal(weights).find("--dtype f32"), std::string::npos) << refusal(weights);
  LoadOptions cache = small_steps();
  cache.synthetic = "tiny:layers=100";
  cache.context = 2'000'000'000;
  EXPECT_NE(refusal(cache).find("2000000000 tokens"), std::string::npos) << refusal(cache);
  cache.context.reset();
  cache.kv_tokens = 2'000'000'000;
  EXPECT_NE(refusal(cache).find("2000000000 tokens"), std::string::npos) << refusal(cache);
}

}  // namespace
}  // namespace updraft::session
