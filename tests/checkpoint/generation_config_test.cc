#include "checkpoint/generation_config.h"

#include <gmock/gmock.h>

#include "tests/support/error_text.h"

namespace updraft::checkpoint {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

GenerationConfig parse(const json& file) { return parse_generation_config(file, "generation_config.json"); }

std::string error_of(const json& file) {
  return test::error_text([&] { parse(file); });
}

TEST(GenerationConfig, ReadsEveryField) {
  const GenerationConfig config = parse({{"do_sample", true},
                                         {"temperature", 0.6},
                                         {"top_k", 20},
                                         {"top_p", 0.95},
                                         {"min_p", 0.05},
                                         {"typical_p", 0.9},
                                         {"epsilon_cutoff", 3e-4},
                                         {"eta_cutoff", 2e-3},
                                         {"repetition_penalty", 1.1},
                                         {"max_new_tokens", 7},
                                         {"max_length", 99},
                                         {"min_new_tokens", 2},
                                         {"no_repeat_ngram_size", 3},
                                         {"bad_words_ids", {{1, 2}, {3}}},
                                         {"sequence_bias", {{{4, 5}, -1.5}}},
                                         {"suppress_tokens", {6}},
                                         {"begin_suppress_tokens", {7, 8}},
                                         {"bos_token_id", 1},
                                         {"eos_token_id", {128001, 128008, 128009}},
                                         {"pad_token_id", nullptr},
                                         {"_from_model_config", true},
                                         {"transformers_version", "4.36.0"}});
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_EQ(config.top_p, 0.95);
  EXPECT_EQ(config.min_p, 0.05);
  EXPECT_EQ(config.typical_p, 0.9);
  EXPECT_EQ(config.epsilon_cutoff, 3e-4);
  EXPECT_EQ(config.eta_cutoff, 2e-3);
  EXPECT_EQ(config.repetition_penalty, 1.1);
  EXPECT_EQ(config.max_new_tokens, 7);
  EXPECT_EQ(config.max_length, 99);
  EXPECT_EQ(config.min_new_tokens, 2);
  EXPECT_EQ(config.no_repeat_ngram_size, 3);
  EXPECT_EQ(config.bad_words, (std::vector<std::vector<int32_t>>{{1, 2}, {3}}));
  ASSERT_EQ(config.sequence_bias.size(), 1u);
  EXPECT_EQ(config.sequence_bias[0].first, (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(config.sequence_bias[0].second, -1.5);
  EXPECT_EQ(config.suppressed_ids, std::vector<int32_t>{6});
  EXPECT_EQ(config.begin_suppressed_ids, (std::vector<int32_t>{7, 8}));
  EXPECT_EQ(config.bos_ids, std::vector<int32_t>{1});
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{128001, 128008, 128009}));
  EXPECT_TRUE(config.pad_ids.empty());
}

TEST(GenerationConfig, SilenceStaysSilence) {
  const GenerationConfig config = parse(json::object());
  EXPECT_FALSE(config.do_sample || config.temperature || config.top_k || config.top_p || config.max_length);
  EXPECT_TRUE(config.eos_ids.empty() && config.bad_words.empty());
}

TEST(GenerationConfig, DerivedFromTheModelsConfig) {
  ModelConfig model;
  model.bos_ids = {1};
  model.eos_ids = {2, 3};
  const GenerationConfig config = default_generation_config(model);
  EXPECT_EQ(config.bos_ids, model.bos_ids);
  EXPECT_EQ(config.eos_ids, model.eos_ids);
  EXPECT_FALSE(config.do_sample.has_value());
}

TEST(GenerationConfig, SettingsThatAreNotSupportedAreRefusedByName) {
  const json fields = {{"num_beams", 4},           {"penalty_alpha", 0.6}, {"guidance_scale", 1.5},
                       {"forced_eos_token_id", 2}, {"min_length", 5},      {"watermarking_config", {{"bias", 2}}}};
  for (const auto& [key, value] : fields.items())
    EXPECT_THAT(error_of({{key, value}}), AllOf(HasSubstr(key), HasSubstr("generation_config.json")));
  EXPECT_EQ(error_of({{"num_beams", 1}, {"penalty_alpha", nullptr}, {"min_length", 0}, {"guidance_scale", 1.0}}), "");
}

TEST(GenerationConfig, StopStringsAreOneTextOrSeveral) {
  EXPECT_EQ(parse({{"stop_strings", "\n\n"}}).stop_strings, std::vector<std::string>{"\n\n"});
  EXPECT_EQ(parse({{"stop_strings", {"END", "###"}}}).stop_strings, (std::vector<std::string>{"END", "###"}));
  EXPECT_TRUE(parse({{"stop_strings", nullptr}}).stop_strings.empty());
  for (const json& wrong : {json(3), json({"a", 3}), json(""), json({"a", ""})})
    EXPECT_THAT(error_of({{"stop_strings", wrong}}), HasSubstr("stop_strings"));
}

TEST(GenerationConfig, ValuesAreChecked) {
  const std::pair<const char*, json> wrong[] = {{"temperature", -1},
                                                {"temperature", "hot"},
                                                {"top_p", 1.5},
                                                {"top_k", -1},
                                                {"top_k", 0.5},
                                                {"repetition_penalty", 0},
                                                {"do_sample", 1},
                                                {"eos_token_id", "</s>"},
                                                {"eos_token_id", {{1}}},
                                                {"bad_words_ids", 3},
                                                {"bad_words_ids", {3}},
                                                {"bad_words_ids", json::array({json::array()})},
                                                {"bad_words_ids", {{-1}}},
                                                {"sequence_bias", {{4, 5}}},
                                                {"sequence_bias", {{{4}, "x"}}},
                                                {"suppress_tokens", {1e10}}};
  for (const auto& [key, value] : wrong) EXPECT_THAT(error_of({{key, value}}), HasSubstr(key)) << value;
  EXPECT_THAT(error_of(json::array()), HasSubstr("JSON object"));
}

}  // namespace
}  // namespace updraft::checkpoint
