// Streaming: for random ids, of every style of vocabulary, the pieces are whole characters, equal decode() in the end,
// and never give out what becomes a stop string.
#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/goldens.h"
#include "tests/support/random.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

std::vector<std::unique_ptr<Tokenizer>> every_tokenizer() {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  tokenizers.push_back(make_byte_tokenizer(400));
  for (const char* name : {"tokenizers/gpt2", "tokenizers/llama3", "tokenizers/qwen2", "mistral-7b-instruct-v0.2/old",
                           "mistral-7b-instruct-v0.2/new", "mistral-7b-instruct-v0.2/tokenizer.model"}) {
    const auto path = test::find_golden(name);
    if (!path.empty()) tokenizers.push_back(load_tokenizer(path));
  }
  return tokenizers;
}

std::vector<TokenId> random_ids(const Tokenizer& tokenizer, test::Random& random) {
  std::vector<TokenId> ids;
  const int64_t count = random.integer(0, 25);
  for (int64_t i = 0; i < count; ++i) {  // half of them among the first ids, where bytes and special tokens are
    const int64_t last = random.chance(0.5) ? std::min(tokenizer.size(), 262) : tokenizer.size() + 3;
    ids.push_back(TokenId(random.integer(-1, last - 1)));
  }
  return ids;
}

std::string stream_all(TextStream& stream, const std::vector<TokenId>& ids) {
  std::string text;
  for (TokenId id : ids) {
    const std::string piece = stream.push(id);
    EXPECT_TRUE(is_valid_utf8(piece));
    text += piece;
  }
  return text + stream.finish();
}

// What a stream with stop strings must give: the text up to the stop string that is complete first.
std::string cut(const std::string& text, const std::vector<std::string>& stops, std::string* found) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string_view head = std::string_view(text).substr(0, end);
    const std::string* longest = nullptr;
    for (const std::string& stop : stops) {
      if (head.ends_with(stop) && (longest == nullptr || stop.size() > longest->size())) longest = &stop;
    }
    if (longest == nullptr) continue;
    *found = *longest;
    return text.substr(0, end - longest->size());
  }
  return text;
}

TEST(TextStream, EqualsDecodeInTheEnd) {
  test::Random random(1);
  for (const auto& tokenizer : every_tokenizer()) {
    SCOPED_TRACE(tokenizer->description());
    for (int i = 0; i < 400; ++i) {
      const std::vector<TokenId> ids = random_ids(*tokenizer, random);
      const bool skip = random.chance(0.5);
      TextStream stream(*tokenizer, {.skip_special = skip, .stop = {}});
      EXPECT_EQ(stream_all(stream, ids), tokenizer->decode(ids, skip));
      EXPECT_FALSE(stream.stopped());
    }
  }
}

TEST(TextStream, EndsBeforeTheFirstStopString) {
  test::Random random(2);
  int stopped = 0;
  for (const auto& tokenizer : every_tokenizer()) {
    SCOPED_TRACE(tokenizer->description());
    for (int i = 0; i < 400; ++i) {
      const std::vector<TokenId> ids = random_ids(*tokenizer, random);
      const std::string whole = tokenizer->decode(ids, true);
      std::vector<std::string> stops;
      for (int64_t k = random.integer(0, 3); k > 0; --k) {  // pieces of the text, some with an end that is not there
        size_t begin = size_t(random.integer(0, int64_t(whole.size()))), size = size_t(random.integer(1, 6));
        while (begin < whole.size() && (uint8_t(whole[begin]) & 0xc0) == 0x80) ++begin;
        std::string stop = replace_invalid_utf8(std::string_view(whole).substr(begin, size));
        if (random.chance(0.3)) stop += "!";
        stops.push_back(stop);
      }
      std::erase(stops, std::string());
      std::string found;
      const std::string wanted = cut(whole, stops, &found);
      TextStream stream(*tokenizer, {.skip_special = true, .stop = stops});
      EXPECT_EQ(stream_all(stream, ids), wanted) << whole;
      EXPECT_EQ(stream.stopped(), !found.empty());
      EXPECT_EQ(stream.stop_string(), found);
      stopped += stream.stopped();
    }
  }
  EXPECT_GT(stopped, 200);
}

TEST(TextStream, GivesTextOutAsSoonAsItIsCertain) {
  const auto tokenizer = make_byte_tokenizer(300);
  const auto byte = [&](uint8_t value) { return TokenId(3 + value); };
  TextStream stream(*tokenizer, {.skip_special = true, .stop = {"stop", "tip"}});
  EXPECT_EQ(stream.push(byte('a')), "a");
  EXPECT_EQ(stream.push(byte('s')), "");
  EXPECT_EQ(stream.push(byte('t')), "");
  EXPECT_EQ(stream.push(byte('i')), "s");  // "ti" may still become "tip"
  EXPECT_EQ(stream.push(byte('e')), "tie");
  EXPECT_EQ(stream.push(byte(0xc3)), "");
  EXPECT_EQ(stream.push(byte(0xa9)), "é");
  EXPECT_EQ(stream.push(byte(0xe4)), "");
  EXPECT_EQ(stream.push(2), "");  // </s>: skipped
  EXPECT_EQ(stream.push(byte('x')), "\uFFFDx");
  EXPECT_EQ(stream.push(byte('s')), "");
  EXPECT_EQ(stream.finish(), "s");
}

TEST(TextStream, KeepsTheStopStringWhenAsked) {
  const auto path = test::find_golden("tokenizers/gpt2");
  const auto tokenizer = load_tokenizer(path);
  const std::vector<TokenId> ids = tokenizer->encode("What is the difference");
  const std::string first = tokenizer->token_bytes(ids[0], true, true);
  ASSERT_FALSE(first.empty());
  TextStream cut_stream(*tokenizer, {.skip_special = true, .stop = {first.substr(0, 1)}});
  EXPECT_EQ(stream_all(cut_stream, ids), "");
  TextStream kept(*tokenizer, {.skip_special = true, .stop = {first.substr(0, 1)}, .include_stop = true});
  EXPECT_EQ(stream_all(kept, ids), first);
  EXPECT_TRUE(kept.stopped());
}

}  // namespace
}  // namespace updraft::text
