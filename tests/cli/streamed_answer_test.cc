#include "cli/streamed_answer.h"

#include <gtest/gtest.h>

#include "cli/json_lines.h"
#include "tests/support/error_text.h"

namespace updraft::cli {
namespace {

std::string nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

TEST(StreamedAnswer, PutsItsPiecesTogether) {
  StreamedAnswer answer;
  answer.event(R"({"choices": [{"delta": {"role": "assistant"}}]})", 1);
  answer.event(R"({"choices": [{"delta": {"reasoning_content": "Hm. "}}], "error": null})", 2);
  answer.event(R"({"choices": [{"delta": {"content": "Yes"}, "finish_reason": "stop"}]})", 3);
  answer.event(R"({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})", 4);
  EXPECT_EQ(answer.run.text, "Hm. Yes");
  EXPECT_EQ(answer.run.finish_reason, "stop");
  EXPECT_EQ(answer.run.token_times_s, (std::vector<double>{2, 3}));
  EXPECT_EQ(answer.run.prompt_tokens, 7);
  EXPECT_EQ(answer.run.new_tokens, 2);
  EXPECT_TRUE(answer.ended && answer.has_usage);
  EXPECT_EQ(answer.error, "");
}

TEST(StreamedAnswer, AnythingElseIsAnErrorOrPassedOver) {
  for (const char* event : {R"({"choices": 3})", R"({"choices": [3]})", R"({"choices": [{"delta": [1]}]})",
                            R"({"usage": {"prompt_tokens": "many"}})", "{}"}) {
    StreamedAnswer answer;
    answer.event(event, 1);
    EXPECT_EQ(answer.error, "") << event;
    EXPECT_FALSE(answer.ended) << event;
    EXPECT_EQ(answer.run.text, "") << event;
  }
  for (const std::string& event :
       {std::string("nothing"), std::string("[]"), R"({"choices": )" + nested(1 << 20) + "}"}) {
    StreamedAnswer answer;
    answer.event(event, 1);
    EXPECT_NE(answer.error.find("no JSON object"), std::string::npos) << event.substr(0, 80);
  }
  StreamedAnswer refused;
  refused.event(R"({"error": {"message": "out of memory"}})", 1);
  EXPECT_EQ(refused.error, "out of memory");
}

TEST(StreamedAnswer, RefusalsSayWhy) {
  EXPECT_EQ(refusal_message(R"({"error": {"message": "no"}})"), "no");
  EXPECT_EQ(refusal_message(R"({"error": "no"})"), "no");
  EXPECT_EQ(refusal_message(R"({"message": "no"})"), "no");
  EXPECT_EQ(refusal_message(R"({"detail": [1]})"), "[1]");
  EXPECT_EQ(refusal_message("<html>"), "<html>");
  const std::string deep = R"({"detail": )" + nested(1 << 15) + "}";
  EXPECT_EQ(refusal_message(deep), deep.substr(0, 300));
}

TEST(JsonLines, ALineThatNestsTooDeepIsRefused) {
  EXPECT_NO_THROW(parse_line(R"({"ids": )" + nested(500) + "}"));
  EXPECT_NE(test::error_text([] { parse_line(R"({"temperature": )" + nested(1 << 20) + "}"); }).find("nests deeper"),
            std::string::npos);
}

}  // namespace
}  // namespace updraft::cli
