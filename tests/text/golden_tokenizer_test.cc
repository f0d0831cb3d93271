// The tokenizer against what transformers and sentencepiece made of the same texts (../shared/models, tests/golden).
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
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
  EXPECT_GT(cases.size(), 200u);
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
  EXPECT_GT(prompts, 20);
}

// SmolLM2's vocabulary, from its GGUF file: the article's prompts, two passages, and the text of what it generated.
TEST(GoldenTokenizer, SmolLm2FromItsGgufFile) {
  const auto golden = test::find_golden("smollm2-135m-instruct/golden.json");
  if (golden.empty()) GTEST_SKIP() << "smollm2-135m-instruct/golden.json is not in the goldens' folder";
  const char* named = std::getenv("UPDRAFT_SMOLLM2");
  const std::filesystem::path source = UPDRAFT_SOURCE_DIR;
  std::filesystem::path path = named == nullptr ? "" : named;
  for (const char* place : {"../.cache/smollm2", "../../.cache/smollm2"}) {
    const auto candidate = source / place / "SmolLM2-135M-Instruct.Q4_1.gguf";
    if (path.empty() && std::filesystem::exists(candidate)) path = candidate;
  }
  if (path.empty()) GTEST_SKIP() << "no SmolLM2-135M-Instruct.Q4_1.gguf; name it in UPDRAFT_SMOLLM2";
  const auto checkpoint = checkpoint::open_checkpoint(path);
  const checkpoint::EmbeddedVocabulary& v = *checkpoint->vocabulary();
  const auto tokenizer = make_tokenizer({v.model, v.pre, v.tokens, v.scores, v.types, v.merges, v.bos_id, v.eos_id,
                                         v.unknown_id, v.padding_id, v.add_bos, v.add_eos, v.add_space_prefix});
  std::ifstream file(golden);
  const Json json = Json::parse(file);
  for (const Json& chat : json.at("chats")) {
    EXPECT_EQ(tokenizer->encode(chat.at("prompt").get<std::string>()), chat.at("ids").get<Ids>());
    EXPECT_EQ(tokenizer->decode(chat.at("greedy").get<Ids>(), true), chat.at("text").get<std::string>());
  }
  for (const Json& passage : json.at("passages")) {
    EXPECT_EQ(tokenizer->encode(passage.at("text").get<std::string>()), passage.at("ids").get<Ids>());
  }
}

}  // namespace
}  // namespace updraft::text
