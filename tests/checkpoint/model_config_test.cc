#include "checkpoint/model_config.h"

#include <gmock/gmock.h>

#include <random>

#include "checkpoint/strict_json.h"
#include "tests/support/error_text.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

ModelConfig parse(const json& file) { return parse_model_config(file, "config.json"); }

std::string error_of(const json& file) {
  return test::error_text([&] { parse(file); });
}

json with(json file, const json& changes) {
  file.update(changes);
  return file;
}

json mistral() {
  return {{"model_type", "mistral"}, {"hidden_size", 64},        {"num_attention_heads", 4}, {"num_hidden_layers", 3},
          {"vocab_size", 257},       {"intermediate_size", 176}, {"num_key_value_heads", 2}};
}
json llama() { return with(mistral(), {{"model_type", "llama"}}); }
json qwen(const char* type) { return with(mistral(), {{"model_type", type}}); }

// What transformers' configuration classes take where the file is silent.
TEST(ModelConfig, DefaultsAreThoseOfTheConfigurationClass) {
  const ModelConfig m = parse({{"model_type", "mistral"}});
  EXPECT_EQ(m.architecture, Architecture::kMistral);
  EXPECT_EQ(m.architecture_name, "MistralForCausalLM");
  EXPECT_EQ(m.hidden_size, 4096);
  EXPECT_EQ(m.intermediate_size, 14336);
  EXPECT_EQ(m.layers, 32);
  EXPECT_EQ(m.query_heads, 32);
  EXPECT_EQ(m.key_value_heads, 8);
  EXPECT_EQ(m.head_dim, 128);
  EXPECT_EQ(m.vocabulary_size, 32000);
  EXPECT_EQ(m.max_context, 131072);
  EXPECT_EQ(m.norm_epsilon, 1e-6f);
  EXPECT_EQ(m.rope.theta, 10000);
  EXPECT_EQ(m.rope.kind, RopeKind::kDefault);
  EXPECT_EQ(m.windows, std::vector<int>(32, 4096));
  EXPECT_FALSE(m.tied_embeddings || m.qkv_bias || m.attention_output_bias || m.mlp_bias || m.query_key_norm);
  EXPECT_EQ(m.dtype, std::nullopt);
  EXPECT_EQ(m.bos_ids, std::vector<int32_t>{1});
  EXPECT_EQ(m.eos_ids, std::vector<int32_t>{2});

  const ModelConfig l = parse({{"architectures", {"LlamaForCausalLM"}}});
  EXPECT_EQ(l.intermediate_size, 11008);
  EXPECT_EQ(l.key_value_heads, 32);
  EXPECT_EQ(l.max_context, 2048);
  EXPECT_EQ(l.windows, std::vector<int>(32, 0));

  const ModelConfig q2 = parse({{"model_type", "qwen2"}});
  EXPECT_EQ(q2.vocabulary_size, 151936);
  EXPECT_EQ(q2.intermediate_size, 22016);
  EXPECT_EQ(q2.key_value_heads, 32);
  EXPECT_EQ(q2.max_context, 32768);
  EXPECT_TRUE(q2.qkv_bias);
  EXPECT_FALSE(q2.attention_output_bias);
  EXPECT_TRUE(q2.bos_ids.empty() && q2.eos_ids.empty());

  const ModelConfig q3 = parse({{"model_type", "qwen3"}});
  EXPECT_TRUE(q3.query_key_norm);
  EXPECT_FALSE(q3.qkv_bias);
  EXPECT_EQ(parse({{"model_type", "qwen3"}, {"hidden_size", 1024}}).head_dim, 128);  // not hidden / heads
}

TEST(ModelConfig, SizesOfMistral7B) {
  const ModelConfig m = parse({{"model_type", "mistral"},
                               {"architectures", {"MistralForCausalLM"}},
                               {"sliding_window", nullptr},
                               {"max_position_embeddings", 32768},
                               {"rope_theta", 1000000.0},
                               {"rms_norm_eps", 1e-5}});
  EXPECT_EQ(m.parameters(), 7'241'732'096);
  EXPECT_EQ(m.windows, std::vector<int>(32, 0));
  EXPECT_EQ(m.norm_epsilon, 1e-5f);
}

TEST(ModelConfig, HeadsAndTheirDimension) {
  EXPECT_EQ(parse(mistral()).head_dim, 16);
  EXPECT_EQ(parse(with(mistral(), {{"head_dim", nullptr}})).head_dim, 16);
  EXPECT_EQ(parse(with(mistral(), {{"head_dim", 32}})).head_dim, 32);
  EXPECT_EQ(parse(with(qwen("qwen3"), {{"head_dim", nullptr}})).head_dim, 16);
  EXPECT_EQ(parse(with(mistral(), {{"num_key_value_heads", nullptr}})).key_value_heads, 4);
  EXPECT_EQ(parse(with(mistral(), {{"hidden_size", 64.0}})).hidden_size, 64);
  EXPECT_THAT(error_of(with(mistral(), {{"num_key_value_heads", 3}})), HasSubstr("multiple of num_key_value_heads"));
  EXPECT_THAT(error_of(with(mistral(), {{"hidden_size", 66}})), HasSubstr("head_dim is not given"));
  EXPECT_THAT(error_of(with(mistral(), {{"head_dim", 15}})), HasSubstr("even number"));
}

TEST(ModelConfig, BothSpellingsOfTypeAndRope) {
  const json v4 =
      with(llama(),
           {{"torch_dtype", "bfloat16"}, {"rope_theta", 5e5}, {"rope_scaling", {{"type", "linear"}, {"factor", 4}}}});
  const json v5 = with(llama(), {{"dtype", "bfloat16"},
                                 {"rope_parameters", {{"rope_theta", 5e5}, {"rope_type", "linear"}, {"factor", 4.0}}}});
  for (const json& file : {v4, v5}) {
    const ModelConfig config = parse(file);
    EXPECT_EQ(config.dtype, DType::kBF16);
    EXPECT_EQ(config.rope.theta, 5e5);
    EXPECT_EQ(config.rope.kind, RopeKind::kLinear);
    EXPECT_EQ(config.rope.factor, 4);
  }
  EXPECT_EQ(parse(with(llama(), {{"torch_dtype", "float16"}})).dtype, DType::kF16);
  EXPECT_EQ(parse(with(llama(), {{"torch_dtype", "torch.float32"}})).dtype, DType::kF32);
  EXPECT_EQ(parse(with(llama(), {{"torch_dtype", "float64"}})).dtype, std::nullopt);
  EXPECT_EQ(parse(with(llama(), {{"rope_scaling", nullptr}})).rope.kind, RopeKind::kDefault);
  EXPECT_EQ(parse(with(llama(), {{"rope_parameters", {{"rope_theta", 7.0}}}})).rope.theta, 7);
  EXPECT_EQ(parse(with(llama(), {{"rope_theta", 9}, {"rope_parameters", {{"rope_type", "default"}}}})).rope.theta, 9);
}

TEST(ModelConfig, EveryRopeKind) {
  const auto rope = [](const json& scaling, const json& more = json::object()) {
    return parse(with(with(llama(), {{"rope_scaling", scaling}, {"max_position_embeddings", 4096}}), more)).rope;
  };
  EXPECT_EQ(rope({{"rope_type", "dynamic"}, {"factor", 2}}).kind, RopeKind::kDynamic);

  const RopeConfig yarn = rope({{"rope_type", "yarn"},
                                {"factor", 4},
                                {"original_max_position_embeddings", 1024},
                                {"beta_fast", 16},
                                {"mscale", 0.7},
                                {"mscale_all_dim", 1},
                                {"truncate", false},
                                {"attention_factor", 1.5}});
  EXPECT_EQ(yarn.kind, RopeKind::kYarn);
  EXPECT_EQ(yarn.original_context, 1024);
  EXPECT_EQ(yarn.beta_fast, 16);
  EXPECT_EQ(yarn.beta_slow, 1);
  EXPECT_EQ(yarn.mscale, 0.7);
  EXPECT_EQ(yarn.mscale_all_dim, 1);
  EXPECT_EQ(yarn.attention_factor, 1.5);
  EXPECT_FALSE(yarn.truncate);
  EXPECT_EQ(rope({{"rope_type", "yarn"}, {"original_max_position_embeddings", 1024}}).factor, 4);

  const RopeConfig llama3 = rope({{"rope_type", "llama3"},
                                  {"factor", 8},
                                  {"low_freq_factor", 1},
                                  {"high_freq_factor", 4},
                                  {"original_max_position_embeddings", 64}});
  EXPECT_EQ(llama3.kind, RopeKind::kLlama3);
  EXPECT_EQ(llama3.low_frequency_factor, 1);
  EXPECT_EQ(llama3.high_frequency_factor, 4);

  const std::vector<double> shorter(8, 1.5), longer(8, 3.0);
  const json factors = {{"rope_type", "longrope"}, {"short_factor", shorter}, {"long_factor", longer}};
  const RopeConfig longrope = rope(factors, {{"original_max_position_embeddings", 128}});
  EXPECT_EQ(longrope.kind, RopeKind::kLongrope);
  EXPECT_EQ(longrope.original_context, 128);
  EXPECT_EQ(longrope.factor, 32);
  EXPECT_EQ(longrope.short_factor, shorter);
  EXPECT_EQ(longrope.long_factor, longer);
}

TEST(ModelConfig, WrongRopeIsRefusedByName) {
  const auto error = [](const json& scaling) { return error_of(with(llama(), {{"rope_scaling", scaling}})); };
  EXPECT_THAT(error({{"rope_type", "mrope"}}), AllOf(HasSubstr("mrope"), HasSubstr("longrope")));
  EXPECT_THAT(error({{"factor", 2}}), HasSubstr("rope_type"));
  EXPECT_THAT(error({{"rope_type", "linear"}}), HasSubstr("factor"));
  EXPECT_THAT(error({{"rope_type", "linear"}, {"factor", 0}}), HasSubstr("factor"));
  EXPECT_THAT(error({{"rope_type", "linear"}, {"factor", "2"}}), HasSubstr("factor"));
  EXPECT_THAT(error({{"rope_type", "linear"}, {"factor", 2}, {"llama_4_scaling_beta", 0.1}}),
              HasSubstr("llama_4_scaling_beta"));
  EXPECT_THAT(error({{"rope_type", "llama3"}, {"factor", 2}}), HasSubstr("low_freq_factor"));
  EXPECT_THAT(error({{"rope_type", "llama3"}, {"factor", 2}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}),
              HasSubstr("high_freq_factor"));
  EXPECT_THAT(error({{"rope_type", "longrope"}, {"factor", 2}, {"short_factor", {1, 2}}, {"long_factor", {1, 2}}}),
              HasSubstr("8 numbers"));
  EXPECT_THAT(error({{"rope_type", "yarn"}, {"factor", 2}, {"original_max_position_embeddings", 0}}),
              HasSubstr("original_max"));
  EXPECT_THAT(error({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(error(json::array({1})), HasSubstr("rope_scaling"));
  EXPECT_THAT(error_of(with(llama(), {{"rope_theta", 0}})), HasSubstr("rope_theta"));
  EXPECT_THAT(error_of(with(llama(), {{"rope_parameters", {{"full_attention", {{"rope_theta", 1e4}}}}}})),
              HasSubstr("full_attention"));
}

TEST(ModelConfig, SlidingWindows) {
  EXPECT_EQ(parse(mistral()).windows, std::vector<int>(3, 4096));  // absent
  EXPECT_EQ(parse(with(mistral(), {{"sliding_window", nullptr}})).windows, std::vector<int>(3, 0));
  EXPECT_EQ(parse(with(mistral(), {{"sliding_window", 7}})).windows, std::vector<int>(3, 7));
  EXPECT_EQ(parse(with(llama(), {{"sliding_window", 7}})).windows, std::vector<int>(3, 0));
  for (const char* type : {"qwen2", "qwen3"}) {
    EXPECT_EQ(parse(with(qwen(type), {{"sliding_window", 7}})).windows, std::vector<int>(3, 0));
    const json on = with(qwen(type), {{"sliding_window", 7}, {"use_sliding_window", true}});
    EXPECT_EQ(parse(on).windows, std::vector<int>(3, 0));  // max_window_layers is 28 where absent
    EXPECT_EQ(parse(with(on, {{"max_window_layers", 1}})).windows, (std::vector<int>{0, 7, 7}));
    const json types = {"sliding_attention", "full_attention", "sliding_attention"};
    EXPECT_EQ(parse(with(on, {{"layer_types", types}})).windows, (std::vector<int>{7, 0, 7}));
    EXPECT_THAT(error_of(with(qwen(type), {{"layer_types", types}})), HasSubstr("contradicts"));
    EXPECT_THAT(error_of(with(on, {{"layer_types", {"full_attention"}}})), HasSubstr("list of 3 names"));
    EXPECT_THAT(error_of(with(on, {{"layer_types", {"full_attention", "linear_attention", "full_attention"}}})),
                HasSubstr("only full_attention and sliding_attention"));
  }
  EXPECT_THAT(error_of(with(mistral(), {{"sliding_window", 0}})), HasSubstr("sliding_window"));
  EXPECT_THAT(error_of(with(mistral(), {{"sliding_window", -1}})), HasSubstr("sliding_window"));
}

TEST(ModelConfig, Biases) {
  const ModelConfig both = parse(with(llama(), {{"attention_bias", true}, {"mlp_bias", true}}));
  EXPECT_TRUE(both.qkv_bias && both.attention_output_bias && both.mlp_bias);
  const ModelConfig qwen3 = parse(with(qwen("qwen3"), {{"attention_bias", true}}));
  EXPECT_TRUE(qwen3.qkv_bias && qwen3.attention_output_bias && !qwen3.mlp_bias);
  EXPECT_THAT(error_of(with(mistral(), {{"attention_bias", true}})), HasSubstr("attention_bias"));
  EXPECT_THAT(error_of(with(mistral(), {{"mlp_bias", true}})), HasSubstr("mlp_bias"));
  EXPECT_THAT(error_of(with(llama(), {{"mlp_bias", "yes"}})), HasSubstr("true or false"));
}

TEST(ModelConfig, FieldsOfOtherDecodersAreRefusedByName) {
  const json fields = {{"hidden_act", "gelu"},
                       {"quantization_config", {{"quant_method", "bitsandbytes"}}},
                       {"attn_logit_softcapping", 50.0},
                       {"final_logit_softcapping", 30},
                       {"query_pre_attn_scalar", 256},
                       {"partial_rotary_factor", 0.5},
                       {"embedding_multiplier", 12},
                       {"logits_scaling", 8},
                       {"num_local_experts", 8},
                       {"num_experts_per_tok", 2},
                       {"text_config", {{"hidden_size", 1}}},
                       {"no_rope_layers", {1, 0}},
                       {"is_encoder_decoder", true},
                       {"use_qk_norm", true}};
  for (const auto& [key, value] : fields.items()) EXPECT_THAT(error_of(with(llama(), {{key, value}})), HasSubstr(key));
  EXPECT_THAT(error_of(with(llama(), {{"quantization_config", {{"quant_method", "fbgemm"}}}})), HasSubstr("fbgemm"));
  const json harmless = {{"quantization_config", nullptr}, {"num_experts", 0},     {"use_qk_norm", false},
                         {"logits_scaling", 1.0},          {"hidden_act", "silu"}, {"partial_rotary_factor", 1},
                         {"pruned_heads", json::object()}};
  EXPECT_EQ(error_of(with(llama(), harmless)), "");
}

TEST(ModelConfig, UnknownDecodersAreRefusedWithTheKnownOnes) {
  EXPECT_THAT(error_of({{"model_type", "gemma2"}}),
              AllOf(HasSubstr("gemma2"), HasSubstr("qwen3"), HasSubstr("config.json")));
  EXPECT_THAT(error_of({{"architectures", {"MixtralForCausalLM"}}}), AllOf(HasSubstr("Mixtral"), HasSubstr("mistral")));
  EXPECT_THAT(error_of({{"model_type", "llama"}, {"architectures", {"LlamaForSequenceClassification"}}}),
              HasSubstr("LlamaForSequenceClassification"));
  EXPECT_THAT(error_of({{"model_type", "llama"}, {"architectures", {"MistralForCausalLM"}}}),
              HasSubstr("another decoder"));
  EXPECT_THAT(error_of(json::object()), HasSubstr("neither model_type nor architectures"));
  EXPECT_THAT(error_of(json::array()), HasSubstr("JSON object"));
}

TEST(ModelConfig, NumbersHaveBounds) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "vocab_size", "max_position_embeddings", "head_dim"}) {
    for (const json& value :
         {json(0), json(-1), json(1.5), json("64"), json(uint64_t(1) << 63), json(1e300), json(true), json::array()})
      EXPECT_THAT(error_of(with(mistral(), {{key, value}})), HasSubstr(key)) << key << " " << value;
    EXPECT_THAT(error_of(with(mistral(), {{key, int64_t(1) << 31}})), HasSubstr(key));
  }
  for (const json& value : {json(0), json(-1e-5), json("1e-5"), json(2)})
    EXPECT_THAT(error_of(with(mistral(), {{"rms_norm_eps", value}})), HasSubstr("rms_norm_eps"));
  EXPECT_THAT(error_of(with(mistral(), {{"eos_token_id", "2"}})), HasSubstr("eos_token_id"));
  EXPECT_THAT(error_of(with(mistral(), {{"eos_token_id", int64_t(1) << 31}})), HasSubstr("eos_token_id"));
  // The largest allowed at once: nothing overflows.
  const json largest = {{"hidden_size", 1 << 20},
                        {"intermediate_size", 1 << 22},
                        {"num_hidden_layers", 4096},
                        {"num_attention_heads", 1 << 14},
                        {"num_key_value_heads", 1 << 14},
                        {"vocab_size", 1 << 24},
                        {"head_dim", 4096}};
  EXPECT_GT(parse(with(mistral(), largest)).parameters(), int64_t(1) << 59);
}

TEST(ModelConfig, SpecialTokens) {
  const ModelConfig config =
      parse(with(llama(), {{"eos_token_id", {5, 6}}, {"bos_token_id", nullptr}, {"pad_token_id", -1}}));
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_TRUE(config.bos_ids.empty());
  EXPECT_TRUE(config.pad_ids.empty());
}

TEST(ModelConfig, WhatIsWrittenReadsBackTheSame) {
  const json yarn = {{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 1024}, {"mscale", 0.7}};
  const json longrope = {{"rope_type", "longrope"},
                         {"factor", 3},
                         {"short_factor", std::vector<double>(8, 1.25)},
                         {"long_factor", std::vector<double>(8, 2.5)},
                         {"original_max_position_embeddings", 64}};
  const json llama3 = {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}};
  const json files[] = {
      mistral(),
      with(mistral(), {{"sliding_window", 7}, {"head_dim", 32}, {"rms_norm_eps", 1e-5}, {"eos_token_id", {3, 4}}}),
      with(llama(), {{"attention_bias", true}, {"mlp_bias", true}, {"tie_word_embeddings", true}}),
      with(llama(), {{"rope_scaling", yarn}}),
      with(llama(), {{"rope_scaling", longrope}}),
      with(llama(), {{"rope_scaling", llama3}, {"rope_theta", 5e5}}),
      qwen("qwen2"),
      with(qwen("qwen2"), {{"use_sliding_window", true}, {"sliding_window", 9}, {"max_window_layers", 2}}),
      with(qwen("qwen3"), {{"attention_bias", true}, {"pad_token_id", 0}})};
  for (const json& file : files) {
    const ModelConfig once = parse(file);
    const json written = to_json(once, DType::kF16);
    const ModelConfig twice = parse(json::parse(written.dump()));
    EXPECT_EQ(twice.dtype, DType::kF16);
    EXPECT_EQ(to_json(twice, DType::kF16), written);
    EXPECT_EQ(twice.windows, once.windows) << file;
    EXPECT_EQ(twice.parameters(), once.parameters());
    EXPECT_EQ(twice.norm_epsilon, once.norm_epsilon);
    EXPECT_EQ(twice.rope.kind, once.rope.kind);
    EXPECT_EQ(twice.rope.theta, once.rope.theta);
    EXPECT_EQ(twice.rope.long_factor, once.rope.long_factor);
    EXPECT_EQ(twice.eos_ids, once.eos_ids);
    EXPECT_EQ(twice.qkv_bias, once.qkv_bias);
  }
}

TEST(ModelConfig, JsonIsReadStrictly) {
  const auto error = [](const std::string& text) { return test::error_text([&] { parse_json(text, "config.json"); }); };
  EXPECT_THAT(error(R"({"hidden_size": 1, "hidden_size": 2})"), HasSubstr("appears twice"));
  EXPECT_THAT(error("{\"a\": NaN}"), HasSubstr("config.json: is not valid JSON"));
  EXPECT_THAT(error(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(error(std::string(70, '[') + std::string(70, ']')), HasSubstr("nests deeper"));
  EXPECT_EQ(error(std::string(60, '[') + std::string(60, ']')), "");
}

// Any field may hold anything: a config or an Error, nothing else.
TEST(ModelConfig, RandomValuesAreReadOrRefused) {
  std::mt19937 random(test::run_seed());
  const json values = {nullptr,
                       true,
                       -1,
                       0,
                       1,
                       2,
                       3,
                       4096,
                       1e-5,
                       0.5,
                       1e308,
                       -1e308,
                       "silu",
                       "default",
                       "yarn",
                       json::array(),
                       json::object(),
                       {1, 2},
                       {{"rope_type", "yarn"}, {"factor", 2}},
                       {{"type", "dynamic"}, {"factor", 1e-3}},
                       {{"rope_theta", 1e-9}}};
  std::vector<std::string> keys = {"rope_scaling", "rope_parameters", "layer_types", "use_sliding_window",
                                   "max_window_layers"};
  const json written = to_json(parse(qwen("qwen2")), DType::kF32);
  for (const auto& [key, value] : written.items()) keys.push_back(key);
  int good = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    json file = with(mistral(), {{"model_type", std::array{"llama", "mistral", "qwen2", "qwen3"}[random() % 4]}});
    for (unsigned i = 0; i <= random() % 4; ++i) file[keys[random() % keys.size()]] = values[random() % values.size()];
    good += test::error_text([&] { EXPECT_GT(parse(file).parameters(), 0); }).empty();
  }
  EXPECT_GT(good, 500);
}

}  // namespace
}  // namespace updraft::checkpoint
