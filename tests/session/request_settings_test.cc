// What a field of a request does to it, and what is refused.
#include "session/request_settings.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

#include "tests/support/error_text.h"

namespace updraft::session {
namespace {

using nlohmann::ordered_json;

TextRequest request_with(const std::string& settings) {
  TextRequest request;
  apply_settings(ordered_json::parse(settings), request);
  return request;
}

std::string refusal(const std::string& settings) {
  return test::error_text([&] { request_with(settings); });
}

TEST(RequestSettings, OnlyWhatIsNotOffTurnsSamplingOn) {
  for (const char* off : {R"({"top_k": 0})", R"({"top_p": 1})", R"({"top_p": 1.0})", R"({"min_p": 0})",
                          R"({"typical_p": 1})", R"({"epsilon_cutoff": 0.0})", R"({"eta_cutoff": 0})"})
    EXPECT_FALSE(request_with(off).sampling.do_sample) << off;
  for (const char* on : {R"({"top_k": 1})", R"({"top_p": 0.9})", R"({"min_p": 0.1})", R"({"typical_p": 0.5})",
                         R"({"epsilon_cutoff": 0.1})", R"({"eta_cutoff": 0.1})", R"({"temperature": 1})"})
    EXPECT_TRUE(request_with(on).sampling.do_sample) << on;
  EXPECT_EQ(request_with(R"({"top_k": 0, "temperature": 1})").sampling.top_k, 0) << "off is also a setting";
}

TEST(RequestSettings, NullIsNotGiven) {
  TextRequest request;
  request.sampling.temperature = 0.5F;
  request.stop = {"."};
  apply_settings({{"temperature", nullptr},
                  {"stop", nullptr},
                  {"do_sample", nullptr},
                  {"system", nullptr},
                  {"seed", nullptr},
                  {"messages", nullptr},
                  {"max_new_tokens", 3}},
                 request);
  EXPECT_EQ(request.sampling.temperature, 0.5F);
  EXPECT_EQ(request.stop, std::vector<std::string>{"."});
  EXPECT_FALSE(request.sampling.do_sample);
  EXPECT_FALSE(request.messages.has_value());
  EXPECT_EQ(request.max_new_tokens, 3);
}

TEST(RequestSettings, AnEmptyStopStringIsRefused) {
  EXPECT_EQ(request_with(R"({"stop": "."})").stop, std::vector<std::string>{"."});
  for (const char* empty : {R"({"stop": ""})", R"({"stop": [".", ""]})", R"({"stop_strings": ""})"})
    EXPECT_NE(refusal(empty).find("an empty stop string"), std::string::npos) << empty;
}

TEST(RequestSettings, SeedsAreAll64BitNumbers) {
  EXPECT_EQ(request_with(R"({"seed": 0})").sampling.seed, 0U);
  EXPECT_EQ(request_with(R"({"seed": 9223372036854775808})").sampling.seed, uint64_t(1) << 63);
  EXPECT_EQ(request_with(R"({"seed": 18446744073709551615})").sampling.seed, std::numeric_limits<uint64_t>::max());
  for (const char* wrong : {"18446744073709551616", "-1", "1.5", "\"1\"", "true"})
    EXPECT_NE(refusal(std::string(R"({"seed": )") + wrong + "}").find("seed: a whole number from 0 to"),
              std::string::npos)
        << wrong;
}

TEST(RequestSettings, AFreshSeedOnlyWhereOneIsMissing) {
  const auto seed = [](const std::string& text) {
    const ordered_json settings = ordered_json::parse(text);
    TextRequest request;
    apply_settings(settings, request);
    draw_seed(settings, request);
    return request.sampling.seed;
  };
  std::set<uint64_t> seeds;
  for (int i = 0; i < 8; ++i) seeds.insert(seed(R"({"temperature": 1, "seed": null})"));
  EXPECT_GT(seeds.size(), 6U);
  EXPECT_EQ(seed(R"({"temperature": 1, "seed": 7})"), 7U);
  EXPECT_EQ(seed("{}"), 0U) << "greedy needs none";
}

}  // namespace
}  // namespace updraft::session
