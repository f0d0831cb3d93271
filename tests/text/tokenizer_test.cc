// The tokenizer's own promises: what it refuses, what a folder's configuration changes, GGUF vocabularies, long words,
// threads.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/error_text.h"
#include "tests/support/goldens.h"
#include "tests/support/random.h"
#include "tests/support/temporary_folder.h"
#include "text/sentencepiece_model.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;
using test::error_text;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

Json small_tokenizer() {
  return {
      {"added_tokens", {{{"id", 5}, {"content", "<s>"}, {"special", true}}}},
      {"model",
       {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {"▁", 3}, {"▁a", 4}}}, {"merges", {"a b", "▁ a"}}}},
      {"decoder", {{"type", "Fuse"}}}};
}

class Folder {
 public:
  std::filesystem::path write(const char* name, const Json& json) {
    std::ofstream(folder_.path() / name) << json;
    return folder_.path() / name;
  }
  std::unique_ptr<Tokenizer> open() const { return load_tokenizer(folder_.path()); }
  std::string refusal(const Json& tokenizer) {
    const auto path = write("tokenizer.json", tokenizer);
    return error_text([&] { load_tokenizer(path); });
  }

 private:
  test::TemporaryFolder folder_;
};

TEST(Tokenizer, RefusesWhatItDoesNotKnowByName) {
  Folder folder;
  EXPECT_EQ(folder.refusal(small_tokenizer()), "");
  const auto with = [](const char* key, const Json& value) {
    Json json = small_tokenizer();
    json[key] = value;
    return json;
  };
  EXPECT_THAT(folder.refusal(with("normalizer", {{"type", "Precompiled"}})), HasSubstr("normalizer 'Precompiled'"));
  EXPECT_THAT(folder.refusal(with("pre_tokenizer", {{"type", "UnicodeScripts"}})), HasSubstr("'UnicodeScripts'"));
  EXPECT_THAT(folder.refusal(with("decoder", {{"type", "WordPiece"}})), HasSubstr("decoder 'WordPiece'"));
  EXPECT_THAT(folder.refusal(with("post_processor", {{"type", "Odd"}})), HasSubstr("post_processor 'Odd'"));
  EXPECT_THAT(folder.refusal(with("model", {{"type", "Unigram"}})), HasSubstr("model 'Unigram'"));
  EXPECT_THAT(folder.refusal(with("pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}})),
              HasSubstr("(a"));
  EXPECT_THAT(folder.refusal(with("pre_tokenizer", {{"type", "Metaspace"}, {"split", 3}})), HasSubstr("'split'"));
  Json json = small_tokenizer();
  json["model"]["merges"].push_back("a c");
  EXPECT_THAT(folder.refusal(json), HasSubstr("merge 2 names 'c'"));
  json = small_tokenizer();
  json["model"]["vocab"]["z"] = 4000000000;
  EXPECT_THAT(folder.refusal(json), HasSubstr("'z'"));
  json = small_tokenizer();
  json["model"]["end_of_word_suffix"] = "</w>";
  EXPECT_THAT(folder.refusal(json), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(folder.refusal(Json::array()), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_text([] { load_tokenizer("/nowhere/tokenizer.json"); }), HasSubstr("/nowhere/tokenizer.json"));
}

// A pattern that PCRE2 would cut otherwise, or not at all, is no fault of the file: a tokenizer.model will do.
TEST(Tokenizer, APatternThatIsNotSupportedIsAComponent) {
  Folder folder;
  Json json = small_tokenizer();
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "\\X"}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(folder.refusal(json), AllOf(HasSubstr("'\\X'"), HasSubstr("tokenizer.model beside it")));
}

TEST(Tokenizer, ErrorsNameTheFile) {
  Folder folder;
  Json json = small_tokenizer();
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(abc"}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(folder.refusal(json), AllOf(HasSubstr("tokenizer.json: "), HasSubstr("'(abc'")));
  json = small_tokenizer();
  json["model"]["vocab"]["zz"] = -1;
  EXPECT_THAT(folder.refusal(json), AllOf(HasSubstr("tokenizer.json: "), HasSubstr("'zz'")));
  json = small_tokenizer();
  json.erase("model");
  EXPECT_THAT(folder.refusal(json), AllOf(HasSubstr("tokenizer.json: "), HasSubstr("'model'")));
}

// Its letters are those of an older Unicode: the description says so.
TEST(Tokenizer, PatternsWithoutAScannerNameTheirLibrary) {
  Folder folder;
  Json json = small_tokenizer();
  EXPECT_THAT(load_tokenizer(folder.write("tokenizer.json", json))->description(), Not(HasSubstr("PCRE2")));
  json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "\\p{L}+"}}}, {"behavior", "Isolated"}};
  EXPECT_THAT(load_tokenizer(folder.write("tokenizer.json", json))->description(),
              AllOf(HasSubstr("PCRE2"), HasSubstr("Unicode 1")));
}

TEST(Tokenizer, AComponentThatIsNotSupportedLeadsToTheOtherFile) {
  const auto model = test::find_golden("mistral-7b-instruct-v0.2/tokenizer.model");
  if (model.empty()) GTEST_SKIP() << "mistral-7b-instruct-v0.2/tokenizer.model is not in the goldens' folder";
  const test::TemporaryFolder folder;
  Json json = small_tokenizer();
  json["normalizer"] = {{"type", "Nmt"}};
  std::ofstream(folder.path() / "tokenizer.json") << json;
  EXPECT_THAT(error_text([&] { load_tokenizer(folder.path()); }),
              AllOf(HasSubstr("'Nmt'"), HasSubstr("tokenizer.model")));
  std::filesystem::copy(model, folder.path() / "tokenizer.model");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->size(), load_tokenizer(model)->size());
  EXPECT_THAT(tokenizer->description(), AllOf(HasSubstr("tokenizer.model"), HasSubstr("'Nmt'")));
}

TEST(Tokenizer, OfAddedTokensFoundByOneContentTheLastCounts) {
  Folder folder;
  Json json = small_tokenizer();
  // The same content twice: one token, with the flags of the last. Checked with tokenizers 0.23.
  const Json anywhere = {{"id", 5}, {"content", "<s>"}};
  const Json alone = {{"id", 5}, {"content", "<s>"}, {"single_word", true}};
  json["added_tokens"] = {anywhere, alone};
  folder.write("tokenizer.json", json);
  EXPECT_EQ(folder.open()->encode("b<s>a"), (Ids{1, 0}));
  json["added_tokens"] = {alone, anywhere};
  folder.write("tokenizer.json", json);
  EXPECT_EQ(folder.open()->encode("b<s>a"), (Ids{1, 5, 0}));
  // Two contents that the normalizer makes one: every run gives the same ids. One that it leaves empty is never found.
  const auto added = [](TokenId id, const char* content) {
    return Json{{"id", id}, {"content", content}, {"normalized", true}};
  };
  json["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers",
       {{{"type", "Lowercase"}}, {{"type", "Replace"}, {"pattern", {{"String", "?"}}}, {"content", ""}}}}};
  json["added_tokens"] = {added(5, "AB"), added(6, "Ab"), added(7, "??")};
  folder.write("tokenizer.json", json);
  EXPECT_EQ(folder.open()->encode("a?aBa"), (Ids{0, 6, 0}));
}

// Ids of tokenizers 0.23; it refuses the last case with an assertion, where a token of white space begins in what the
// token before has taken and goes on into what it has left.
TEST(Tokenizer, AddedTokensOfWhiteSpaceBesideThoseThatStripIt) {
  struct Case {
    bool right, left_space, right_space;  // of <s>, of " ", of " "
    Ids ids;
  };
  for (const Case& c :
       {Case{false, false, false, {0, 5, 6, 6, 6, 1, 6, 6, 0}}, Case{true, false, false, {0, 5, 6, 6, 6, 1, 6, 6, 0}},
        Case{true, false, true, {0, 5, 6, 6, 6, 1, 6, 6, 0}}, Case{false, true, true, {0, 5, 6, 1, 6, 0}},
        Case{true, true, true, {0, 5, 1, 6, 0}}, Case{true, true, false, {0, 5, 1, 6, 6, 0}}}) {
    Folder folder;
    Json json = small_tokenizer();
    json["added_tokens"] = {
        {{"id", 5}, {"content", "<s>"}, {"rstrip", c.right}, {"normalized", false}},
        {{"id", 6}, {"content", " "}, {"lstrip", c.left_space}, {"rstrip", c.right_space}, {"normalized", false}}};
    folder.write("tokenizer.json", json);
    EXPECT_EQ(folder.open()->encode("a<s>   b  a"), c.ids) << c.right << c.left_space << c.right_space;
  }
}

// Ids of tokenizers 0.23.
TEST(Tokenizer, WhatStoodAroundAnUnknownCharacterMerges) {
  Folder folder;
  Json json = small_tokenizer();
  json["model"]["vocab"]["▁▁"] = 6;
  json["model"]["merges"].push_back("▁ ▁");
  folder.write("tokenizer.json", json);
  EXPECT_EQ(folder.open()->encode("a▁0▁b"), (Ids{0, 6, 1}));
  EXPECT_EQ(folder.open()->encode("a0b"), (Ids{2}));
  json["model"]["vocab"]["<unk>"] = 7;
  json["model"]["unk_token"] = "<unk>";
  folder.write("tokenizer.json", json);
  EXPECT_EQ(folder.open()->encode("a▁0▁b"), (Ids{0, 3, 7, 3, 1}));
}

TEST(Tokenizer, ConfigurationDecidesWhatSurroundsATextAndWhatIsSpecial) {
  Folder folder;
  folder.write("tokenizer.json", small_tokenizer());
  EXPECT_EQ(folder.open()->encode("ab", {.add_special = true}), (Ids{2}));

  Json config = {{"tokenizer_class", "LlamaTokenizerFast"}, {"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}};
  folder.write("tokenizer_config.json", config);
  auto tokenizer = folder.open();
  EXPECT_EQ(tokenizer->encode("ab", {.add_special = true}), (Ids{5, 2}));  // LlamaTokenizer adds BOS unless told not to
  EXPECT_EQ(tokenizer->bos(), 5);
  EXPECT_EQ(tokenizer->eos(), 6);  // not in tokenizer.json: a new id
  EXPECT_EQ(tokenizer->encode("ab</s>"), (Ids{2, 6}));
  EXPECT_EQ(tokenizer->encode("ab<s>", {.parse_special = false}),
            (Ids{2}));  // no unknown token: what is unknown vanishes
  EXPECT_EQ(tokenizer->decode(Ids{5, 2, 6}, true), "ab");
  EXPECT_EQ(tokenizer->decode(Ids{5, 2, 6}, false), "<s>ab</s>");

  config["add_bos_token"] = false;
  config["add_eos_token"] = true;
  config["added_tokens_decoder"] = {{"6", {{"content", "</s>"}, {"special", true}, {"lstrip", true}}}};
  folder.write("tokenizer_config.json", config);
  tokenizer = folder.open();
  EXPECT_EQ(tokenizer->encode("ab", {.add_special = true}), (Ids{2, 6}));
  EXPECT_EQ(tokenizer->encode("ab  </s>▁a"), (Ids{2, 6, 4}));  // lstrip takes the spaces

  config = {{"tokenizer_class", "Other"}, {"bos_token", "<s>"}};
  folder.write("tokenizer_config.json", config);
  EXPECT_EQ(folder.open()->encode("ab", {.add_special = true}), (Ids{2}));
}

// What surrounds a text by transformers 5: tokenizer.json's post_processor, whatever the two keys say.
TEST(Tokenizer, AddBosTokenDoesNotRebuildAPostProcessor) {
  Folder folder;
  Json json = small_tokenizer();
  folder.write("tokenizer.json", json);
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", "<s>"}, {"add_bos_token", true}};
  folder.write("tokenizer_config.json", config);
  EXPECT_EQ(folder.open()->encode("ab", {.add_special = true}), (Ids{2}));
  config["tokenizer_class"] = "LlamaTokenizerFast";
  folder.write("tokenizer_config.json", config);
  EXPECT_EQ(folder.open()->encode("ab", {.add_special = true}), (Ids{5, 2}));
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  folder.write("tokenizer.json", json);
  EXPECT_EQ(folder.open()->encode("ab", {.add_special = true}), (Ids{2}));
}

// Ids of transformers 5.
TEST(Tokenizer, SpecialTokensAreSplitWhereTheConfigurationSaysSo) {
  Folder folder;
  folder.write("tokenizer.json", small_tokenizer());
  EXPECT_EQ(folder.open()->encode("ab<s>"), (Ids{2, 5}));
  folder.write("tokenizer_config.json", {{"split_special_tokens", true}});
  EXPECT_EQ(folder.open()->encode("ab<s>"), (Ids{2}));
}

TEST(Tokenizer, TokensOfAModelsOwnNamesAreAdded) {
  for (const Json& config : {Json{{"extra_special_tokens", {{"image_token", "<image>"}}}},
                             Json{{"extra_special_tokens", {"<image>"}}}, Json{{"image_token", "<image>"}}}) {
    Folder folder;
    folder.write("tokenizer.json", small_tokenizer());
    folder.write("tokenizer_config.json", config);
    const auto tokenizer = folder.open();
    EXPECT_EQ(tokenizer->encode("a<image>b"), (Ids{0, 6, 1})) << config;
    EXPECT_TRUE(tokenizer->is_special(6)) << config;
  }
}

TEST(Tokenizer, TheSpecialTokensMapCountsWithoutAnAddedTokensDecoder) {
  Folder folder;
  folder.write("tokenizer.json", small_tokenizer());
  Json config = {{"bos_token", "a"}};
  folder.write("tokenizer_config.json", config);
  folder.write("special_tokens_map.json", {{"bos_token", "b"}, {"pad_token", "<pad>"}});
  EXPECT_EQ(folder.open()->bos(), 1);
  EXPECT_EQ(folder.open()->id_of("<pad>"), 6);
  config["added_tokens_decoder"] = Json::object();
  folder.write("tokenizer_config.json", config);
  EXPECT_EQ(folder.open()->bos(), 0);
  EXPECT_EQ(folder.open()->id_of("<pad>"), std::nullopt);
}

// One field of a protocol buffer message: a number, or bytes.
std::string proto(int field, int value) {
  std::string key;
  for (int rest = field << 3; rest > 0; rest >>= 7) key += char((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  return key + char(value);
}
std::string proto(int field, const std::string& bytes) {
  return std::string{char(field << 3 | 2), char(bytes.size())} + bytes;
}

std::string small_sentencepiece_model(const std::string& more_of_trainer) {
  std::string model;
  const auto add = [&](const std::string& text, int type) { model += proto(1, proto(1, text) + proto(3, type)); };
  for (const auto& [text, type] : {std::pair("<unk>", 2), {"<s>", 3}, {"</s>", 3}, {"▁", 1}, {"a", 1}, {"▁a", 1}})
    add(text, type);
  return model + proto(2, proto(3, 2) + more_of_trainer) + proto(3, proto(4, 0));
}

TEST(Tokenizer, SpacesBehindTheirWordsAreRefused) {
  const auto load = [](const std::string& bytes) {
    sentencepiece_parts(parse_sentencepiece_model(bytes, "x.model"), "x.model", false);
  };
  EXPECT_EQ(error_text([&] { load(small_sentencepiece_model(proto(24, 0))); }), "");
  EXPECT_THAT(error_text([&] { load(small_sentencepiece_model(proto(24, 1))); }),
              AllOf(HasSubstr("x.model"), HasSubstr("'treat_whitespace_as_suffix'")));
}

TEST(Tokenizer, AddEosTokenCountsWithATokenizerModel) {
  const test::TemporaryFolder folder;
  std::ofstream(folder.path() / "tokenizer.model", std::ios::binary) << small_sentencepiece_model("");
  std::ofstream(folder.path() / "tokenizer_config.json")
      << R"({"tokenizer_class": "Other", "eos_token": "</s>", "add_bos_token": false, "add_eos_token": true})";
  EXPECT_EQ(load_tokenizer(folder.path())->encode("a", {.add_special = true}), (Ids{5, 2}));
}

std::unique_ptr<Tokenizer> read_back(const std::string& tokenizer_json) {
  const test::TemporaryFolder folder;
  std::ofstream(folder.path() / "tokenizer.json", std::ios::binary) << tokenizer_json;
  return load_tokenizer(folder.path());
}

void expect_same(const Tokenizer& a, const Tokenizer& b, const std::string& text) {
  for (const bool special : {false, true})
    for (const bool parse : {false, true})
      EXPECT_EQ(a.encode(text, {special, parse}), b.encode(text, {special, parse})) << text;
  const Ids ids = b.encode(text, {.add_special = true});
  for (const bool skip : {false, true}) EXPECT_EQ(a.decode(ids, skip), b.decode(ids, skip)) << text;
}

// A sentencepiece vocabulary, as a GGUF file holds it and as the tokenizer.json that is written of it.
TEST(GoldenTokenizer, SentencepieceVocabularyOfAGgufFileAsTokenizerJson) {
  const auto lines = test::find_golden("mistral-7b-instruct-v0.2/tokenize.jsonl");
  if (lines.empty()) GTEST_SKIP() << "mistral-7b-instruct-v0.2/tokenize.jsonl is not in the goldens' folder";
  const auto path = lines.parent_path() / "tokenizer.model";
  std::ifstream model_file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(model_file), {}};
  for (const bool add_space : {true, false}) {
    VocabularyData data;
    data.model = "llama";
    for (const auto& piece : parse_sentencepiece_model(bytes, path.string()).pieces) {
      data.tokens.push_back(piece.text);
      data.scores.push_back(piece.score);
      data.types.push_back(piece.type);
    }
    data.unknown_id = 0;
    data.bos_id = 1;
    data.eos_id = 2;
    data.add_eos = add_space;
    data.add_space_prefix = add_space;
    const auto ours = make_tokenizer(data), written = read_back(to_tokenizer_json(data));
    EXPECT_EQ(written->size(), ours->size());
    int texts = 0;
    std::ifstream file(lines);
    for (std::string line; std::getline(file, line);)
      if (const Json golden = Json::parse(line); golden.contains("text"))
        expect_same(*written, *ours, golden["text"]), ++texts;
    EXPECT_GT(texts, 50);
  }
}

// The golden tokenizers' vocabularies as a GGUF file would hold them give the same ids.
TEST(GoldenTokenizer, GgufVocabularies) {
  const std::vector<std::pair<std::string, std::string>> styles = {
      {"gpt2", "gpt-2"}, {"llama3", "llama-bpe"}, {"qwen2", "qwen2"}, {"smollm", "smollm"}, {"tekken", "tekken"}};
  for (const auto& [style, pre] : styles) {
    SCOPED_TRACE(style);
    const auto path = test::find_golden("tokenizers/" + style + "/tokenizer.json");
    const Json json = read_json(path);
    VocabularyData data;
    data.model = "gpt2";
    data.pre = pre;
    const auto add = [&](const std::string& token, size_t id, int type) {
      if (data.tokens.size() <= id) data.tokens.resize(id + 1), data.types.resize(id + 1, 5);
      data.tokens[id] = token;
      data.types[id] = type;
    };
    for (const auto& item : json["model"]["vocab"].items()) add(item.key(), item.value(), 1);
    for (const Json& token : json["added_tokens"]) {
      if (token["normalized"] || token["lstrip"]) continue;  // GGUF cannot say this
      add(token["content"], token["id"], token["special"] ? 3 : 4);
    }
    for (const Json& merge : json["model"]["merges"]) {
      data.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
    data.bos_id = data.eos_id = 3;
    data.add_bos = true;
    const auto ours = make_tokenizer(data), wanted = load_tokenizer(path);
    const auto written = read_back(to_tokenizer_json(data));
    EXPECT_EQ(written->size(), ours->size());
    std::ifstream file(path.parent_path() / "tokenize.jsonl");
    for (std::string line; std::getline(file, line);) {
      const Json golden = Json::parse(line);
      if (!golden.contains("text")) continue;
      const std::string text = golden["text"];
      const bool same_tokens = style != "qwen2" || (text.find("strip") == text.npos && text.find("ﬁn") == text.npos);
      if (same_tokens) {
        EXPECT_EQ(ours->encode(text), golden["ids"].get<Ids>()) << text;
      }
      expect_same(*written, *ours, text);
    }
    EXPECT_EQ(ours->decode(Ids{300, 301, 302}, true), wanted->decode(Ids{300, 301, 302}, true));
    for (const auto& [other, of] : {std::pair("llama3", "llama-bpe"), {"deepseek-r1-qwen", "qwen2"}}) {
      if (pre != of) continue;
      VocabularyData renamed = data;
      renamed.pre = other;
      EXPECT_EQ(make_tokenizer(renamed)->encode("It's 12345 words,  no?"), ours->encode("It's 12345 words,  no?"));
    }
    VocabularyData unmerged = data;
    unmerged.merges.clear();
    EXPECT_THAT(error_text([&] { make_tokenizer(unmerged); }), HasSubstr("tokenizer.ggml.merges"));
    data.pre = "unheard-of";
    EXPECT_THAT(error_text([&] { make_tokenizer(data); }), HasSubstr("'unheard-of'"));
    data.model = "bert";
    EXPECT_THAT(error_text([&] { make_tokenizer(data); }), HasSubstr("'bert'"));
  }
}

TEST(Tokenizer, BytesComeBackFromTheEmbeddedVocabulary) {
  const auto tokenizer = make_byte_tokenizer(32000);
  EXPECT_EQ(tokenizer->size(), 32000);
  EXPECT_EQ(tokenizer->encode("<s>A", {.add_special = true}), (Ids{1, 1, 3 + 'A'}));
  EXPECT_EQ(tokenizer->token(31999), "");
  EXPECT_EQ(tokenizer->decode(Ids{31999, 3 + 'x', 2, -7, 99999}, true), "x");
  test::Random random(3);
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (int64_t k = random.integer(0, 30); k > 0; --k) text += char(random.integer(0, 255));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text), false), replace_invalid_utf8(text));
  }
  EXPECT_THAT(error_text([] { make_byte_tokenizer(258); }), HasSubstr("258"));
}

// A megabyte of one character, and other texts with no place to cut: n log n. The bound is a hundred times what it
// takes, in processor time: other programs do not count.
TEST(Tokenizer, NoTextTakesQuadraticTime) {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const char* name : {"tokenizers/gpt2", "tokenizers/llama3", "tokenizers/qwen2", "tokenizers/tekken",
                           "tokenizers/smollm", "mistral-7b-instruct-v0.2/old", "mistral-7b-instruct-v0.2/new"}) {
    if (const auto path = test::find_golden(name); !path.empty()) tokenizers.push_back(load_tokenizer(path));
  }
  ASSERT_GE(tokenizers.size(), 5u);
  constexpr size_t kBytes = 1 << 18;  // quadratic: above 6e10 steps
  for (const std::string part :
       {"a", " ", "\n", "ab", "é", "\u0301", "\u0301\u0323", "日A", "'", "1", " \n", "<s", "▁", "\t a"}) {
    std::string text;
    while (text.size() < kBytes) text += part;
    for (const auto& tokenizer : tokenizers) {
      const std::clock_t start = std::clock();
      const Ids ids = tokenizer->encode(text);
      const std::string back = tokenizer->decode(ids, false);
      EXPECT_LT(double(std::clock() - start) / CLOCKS_PER_SEC, 20) << part;
      EXPECT_GT(back.size(), kBytes / 4) << part;  // U+2581 comes back as a space
    }
  }
}

TEST(Tokenizer, ManyThreadsGetTheSameIds) {
  const auto folder = test::find_golden("tokenizers/llama3");
  const auto tokenizer = load_tokenizer(folder);
  std::vector<std::string> texts;
  std::vector<Ids> wanted;
  std::ifstream file(folder / "tokenize.jsonl");
  for (std::string line; std::getline(file, line);) {
    const Json golden = Json::parse(line);
    if (!golden.contains("text")) continue;
    texts.push_back(golden["text"]);
    wanted.push_back(golden["ids"].get<Ids>());
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t member = 0; member < wrong.size(); ++member) {
    threads.emplace_back([&, member] {
      for (size_t i = 0; i < texts.size() * 3; ++i) {
        const size_t at = (i * (member + 1)) % texts.size();
        wrong[member] += tokenizer->encode(texts[at]) != wanted[at];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace updraft::text
