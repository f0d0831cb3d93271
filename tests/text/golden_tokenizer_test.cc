// The tokenizer against what transformers and sentencepiece made of the same texts (../shared/models, tests/golden).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/goldens.h"
#include "text/tokenizer.h"

namespace updraft::text {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

std::vector<Json> read_lines(const std::filesystem::path& path) {
  std::vector<Json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

// One line's ids and decodes; `prefix` is put before the names of its fields. Lines without text are decodes of any
// ids.
void expect_line(const Tokenizer& tokenizer, const Json& line, const std::string& prefix) {
  const bool encodes = line.contains("text");
  const std::string own = encodes ? prefix : "";
  const Ids ids = line.at(own + "ids").get<Ids>();
  if (encodes) {
    const std::string text = line.at("text");
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, {.add_special = true}), line.at(own + "ids_with_special").get<Ids>()) << text;
  }
  EXPECT_EQ(tokenizer.decode(ids, false), line.at(own + "decoded").get<std::string>()) << line.dump();
  EXPECT_EQ(tokenizer.decode(ids, true), line.at(own + "decoded_skip_special").get<std::string>()) << line.dump();
}

TEST(GoldenTokenizer, EveryStyleOfByteLevelTokenizer) {
  for (const std::string style : {"gpt2", "llama3", "qwen2", "smollm", "tekken"}) {
    SCOPED_TRACE(style);
    const auto lines = test::find_golden("tokenizers/" + style + "/tokenize.jsonl");
    const auto tokenizer = load_tokenizer(lines.parent_path());
    const std::vector<Json> cases = read_lines(lines);
    EXPECT_GT(cases.size(), 70u);
    for (const Json& line : cases) expect_line(*tokenizer, line, "");
  }
}

TEST(GoldenTokenizer, BothGenerationsOfMistral) {
  const auto lines = test::find_golden("mistral-7b-instruct-v0.2/tokenize.jsonl");
  if (lines.empty()) GTEST_SKIP() << "mistral-7b-instruct-v0.2/tokenize.jsonl is not in the goldens' folder";
  const std::vector<Json> cases = read_lines(lines);
  EXPECT_GT(cases.size(), 400u);
  for (const std::string generation : {"old", "new"}) {
    SCOPED_TRACE(generation);
    for (const auto& path : {lines.parent_path() / generation, lines.parent_path() / generation / "tokenizer.json"}) {
      const auto tokenizer = load_tokenizer(path);
      EXPECT_EQ(tokenizer->size(), 32000);
      EXPECT_EQ(tokenizer->bos(), 1);
      for (const Json& line : cases) expect_line(*tokenizer, line, generation + "_");
    }
  }
}

TEST(GoldenTokenizer, MistralsTokenizerModelAlone) {
  const auto lines = test::find_golden("mistral-7b-instruct-v0.2/tokenize.jsonl");
  if (lines.empty()) GTEST_SKIP() << "mistral-7b-instruct-v0.2/tokenize.jsonl is not in the goldens' folder";
  const auto tokenizer = load_tokenizer(lines.parent_path());  // the folder has no tokenizer.json
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  for (const Json& line : read_lines(lines)) {
    if (!line.contains("text")) continue;
    const std::string text = line.at("text");
    EXPECT_EQ(tokenizer->encode(text), line.at("sentencepiece_ids").get<Ids>()) << text;
  }
}

TEST(GoldenTokenizer, RenderedPromptsOfMistral) {
  const auto lines = test::find_golden("mistral-7b-instruct-v0.2/chat.jsonl");
  if (lines.empty()) GTEST_SKIP() << "mistral-7b-instruct-v0.2/chat.jsonl is not in the goldens' folder";
  int prompts = 0;
  for (const std::string generation : {"old", "new"}) {
    if (!std::filesystem::exists(lines.parent_path() / generation)) GTEST_SKIP() << "no Mistral vocabulary";
    const auto tokenizer = load_tokenizer(lines.parent_path() / generation);
    for (const Json& line : read_lines(lines)) {
      if (line.at("template") != generation || !line.contains("ids")) continue;
      EXPECT_EQ(tokenizer->encode(line.at("prompt").get<std::string>()), line.at("ids").get<Ids>())
          << line.at("prompt");
      ++prompts;
    }
  }
  EXPECT_GT(prompts, 70);
}

}  // namespace
}  // namespace updraft::text
