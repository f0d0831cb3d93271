#include "checkpoint/folder.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/tensor_name.h"
#include "checkpoint/weight_files.h"
#include "tests/checkpoint/torch_file_builder.h"
#include "tests/support/error_text.h"
#include "tests/support/goldens.h"
#include "tests/support/temporary_folder.h"

namespace updraft::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

// A file of BF16 vectors, each of two elements.
std::string safetensors_of(const std::vector<std::string>& names, const std::string& type = "BF16") {
  json header = json::object();
  const int64_t bytes = type == "BF16" || type == "F16" ? 4 : type == "F8_E4M3" ? 2 : 8;
  int64_t at = 0;
  for (const std::string& name : names) {
    header[name] = {{"dtype", type}, {"shape", {2}}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  const std::string text = header.dump();
  return little_endian(text.size(), 8) + text + std::string(size_t(at), '\x11');
}

class FolderTest : public testing::Test {
 protected:
  FolderTest() { folder_.write("config.json", R"({"model_type": "llama", "num_hidden_layers": 2})"); }

  std::unique_ptr<Checkpoint> open() const { return open_checkpoint(folder_.path()); }
  std::string error() const {
    return test::error_text([&] { open(); });
  }
  void write_index(const json& weight_map, const char* name = "model.safetensors.index.json") const {
    folder_.write(name, json{{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}}.dump());
  }

  const test::TemporaryFolder folder_;
};

// transformers: a head of other values than the table's is the model's own, though config.json calls them tied.
TEST_F(FolderTest, AHeadOfOtherValuesIsNotTied) {
  folder_.write("config.json", R"({"model_type": "llama", "num_hidden_layers": 1, "vocab_size": 2, "hidden_size": 2,
                                   "num_attention_heads": 1, "tie_word_embeddings": true})");
  const std::string table("\1\2\3\4\5\6\7\10", 8), other("\1\2\3\4\5\6\7\11", 8);
  const auto write = [&](const std::string& head) {
    const json header = {
        {"lm_head.weight", {{"dtype", "BF16"}, {"shape", {2, 2}}, {"data_offsets", {0, 8}}}},
        {"model.embed_tokens.weight", {{"dtype", "BF16"}, {"shape", {2, 2}}, {"data_offsets", {8, 16}}}}};
    const std::string text = header.dump();
    folder_.write("model.safetensors", little_endian(text.size(), 8) + text + head + table);
  };
  write(table);
  EXPECT_TRUE(open()->config().tied_embeddings);
  write(other);
  EXPECT_FALSE(open()->config().tied_embeddings);
}

TEST_F(FolderTest, AMisnamedTensorIsNamed) {
  folder_.write("config.json", R"({"model_type": "llama", "num_hidden_layers": 1, "vocab_size": 2, "hidden_size": 2,
                                   "num_attention_heads": 1})");
  folder_.write("model.safetensors", safetensors_of({"model.norms.weight", "model.layers.0.input_layernorm.weight"}));
  EXPECT_THAT(test::error_text([&] { open()->find("model.norm.weight", 1, 2); }),
              AllOf(HasSubstr("no tensor model.norm.weight"), HasSubstr("model.safetensors has model.norms.weight")));
  folder_.write("model.safetensors", safetensors_of({"model.layers.0.input_layernorm.weight"}));
  EXPECT_THAT(test::error_text([&] { open()->find("model.norm.weight", 1, 2); }),
              HasSubstr("a file of the model missing"));
}

TEST_F(FolderTest, OneFile) {
  folder_.write("model.safetensors", safetensors_of({"model.norm.weight", "lm_head.weight"}));
  folder_.write("pytorch_model.bin", "not even looked at");
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->container(), "safetensors");
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->info("lm_head.weight")->file, "model.safetensors");
  EXPECT_EQ(checkpoint->info("lm_head.bias"), nullptr);
  EXPECT_EQ(checkpoint->natural_dtype(), DType::kBF16);
}

TEST_F(FolderTest, TheConfigNamesTheTypeElseTheWeightsDo) {
  folder_.write("model.safetensors", safetensors_of({"model.norm.weight"}, "F32"));
  EXPECT_EQ(open()->natural_dtype(), DType::kF32);
  folder_.write("config.json", R"({"model_type": "llama", "torch_dtype": "float16"})");
  EXPECT_EQ(open()->natural_dtype(), DType::kF16);
}

TEST_F(FolderTest, FindNamesTensorAndShape) {
  folder_.write("model.safetensors", safetensors_of({"model.norm.weight"}));
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->find("model.norm.weight", 1, 2)->columns(), 2);
  const auto error = [&](const char* name, int64_t rows, int64_t columns) {
    return test::error_text([&] { checkpoint->find(name, rows, columns); });
  };
  EXPECT_THAT(error("model.norm.weight", 1, 3),
              AllOf(HasSubstr("[2]"), HasSubstr("[1, 3]"), HasSubstr("model.safetensors")));
  EXPECT_THAT(error("model.norm.weight", 2, 1), HasSubstr("[2, 1]"));
  EXPECT_THAT(error("model.layers.0.mlp.up_proj.weight", 1, 2),
              HasSubstr("no tensor model.layers.0.mlp.up_proj.weight"));
}

TEST_F(FolderTest, OtherTypesAreListedAndRefusedWhenAskedFor) {
  folder_.write("model.safetensors", safetensors_of({"model.norm.weight"}, "F8_E4M3"));
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->info("model.norm.weight")->stored_type, "F8_E4M3");
  EXPECT_THAT(test::error_text([&] { checkpoint->find("model.norm.weight", 1, 2); }),
              AllOf(HasSubstr("F8_E4M3"), HasSubstr("model.norm.weight")));
}

TEST_F(FolderTest, Shards) {
  folder_.write("model-00001-of-00002.safetensors", safetensors_of({"model.embed_tokens.weight"}));
  folder_.write("model-00002-of-00002.safetensors", safetensors_of({"model.norm.weight", "extra"}));
  write_index({{"model.embed_tokens.weight", "model-00001-of-00002.safetensors"},
               {"model.norm.weight", "model-00002-of-00002.safetensors"}});
  EXPECT_EQ(open()->info("model.norm.weight")->file, "model-00002-of-00002.safetensors");
  EXPECT_EQ(open()->tensors().size(), 3u);
}

TEST_F(FolderTest, WrongShardsAreNamed) {
  folder_.write("a.safetensors", safetensors_of({"model.embed_tokens.weight"}));
  folder_.write("b.safetensors", safetensors_of({"model.norm.weight"}));
  write_index({{"model.embed_tokens.weight", "a.safetensors"}, {"model.norm.weight", "c.safetensors"}});
  EXPECT_THAT(error(), HasSubstr("the shard c.safetensors is missing"));
  write_index({{"model.embed_tokens.weight", "b.safetensors"}, {"model.norm.weight", "a.safetensors"}});
  EXPECT_THAT(error(), AllOf(HasSubstr("no such tensor"), HasSubstr("has it")));
  write_index({{"lm_head.weight", "a.safetensors"}});
  EXPECT_THAT(error(), AllOf(HasSubstr("lm_head.weight"), HasSubstr("a.safetensors"), HasSubstr("index.json")));
  folder_.write("b.safetensors", safetensors_of({"model.norm.weight", "model.embed_tokens.weight"}));
  write_index({{"model.embed_tokens.weight", "a.safetensors"}, {"model.norm.weight", "b.safetensors"}});
  EXPECT_THAT(error(), AllOf(HasSubstr("model.embed_tokens.weight"), HasSubstr("twice"), HasSubstr("a.safetensors")));
}

TEST_F(FolderTest, ShardNamesMayNotLeaveTheFolder) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "..", ".", "", "a\\b", "sub/a.safetensors", "C:a"}) {
    write_index({{"model.norm.weight", name}});
    EXPECT_THAT(error(), HasSubstr("not a file of this folder")) << name;
  }
  write_index({{"model.norm.weight", std::string(5000, 'x')}});
  EXPECT_THAT(error(), HasSubstr("is missing"));
  write_index({{"model.norm.weight", 3}});
  EXPECT_THAT(error(), HasSubstr("model.norm.weight"));
  write_index(json::object());
  EXPECT_THAT(error(), HasSubstr("weight_map"));
  folder_.write("model.safetensors.index.json", "{");
  EXPECT_THAT(error(), HasSubstr("model.safetensors.index.json: is not valid JSON"));
}

TEST_F(FolderTest, FilesThatAreNotWeights) {
  folder_.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n");
  EXPECT_THAT(error(), HasSubstr("git lfs pull"));
  folder_.write("model.safetensors", "<!DOCTYPE html><html></html>");
  EXPECT_THAT(error(), HasSubstr("web page"));
  folder_.write("model.safetensors", "");
  EXPECT_THAT(error(), AllOf(HasSubstr("model.safetensors"), HasSubstr("0 bytes")));
}

TEST_F(FolderTest, NoWeightsOrNoConfig) {
  EXPECT_THAT(error(), AllOf(HasSubstr("no weights"), HasSubstr(folder_.path().string())));
  folder_.write("model.Q4_0.gguf", "");
  EXPECT_THAT(error(), HasSubstr("model.Q4_0.gguf"));
  fs::remove(folder_.path() / "model.Q4_0.gguf");
  folder_.write("consolidated.safetensors", "");
  EXPECT_THAT(error(), HasSubstr("authors' own layout"));
  fs::remove(folder_.path() / "config.json");
  EXPECT_THAT(error(), HasSubstr("config.json"));
}

TEST_F(FolderTest, TheOnlySafetensorsFileIsTheWeightsWhateverItsName) {
  folder_.write("gptq_model-4bit--1g.safetensors", safetensors_of({"model.norm.weight"}));
  folder_.write("consolidated.safetensors", "");
  EXPECT_EQ(open()->info("model.norm.weight")->file, "gptq_model-4bit--1g.safetensors");
  folder_.write("gptq_model-8bit-128g.safetensors", safetensors_of({"model.norm.weight"}));
  EXPECT_THAT(error(), AllOf(HasSubstr("gptq_model-4bit--1g.safetensors and gptq_model-8bit-128g.safetensors"),
                             HasSubstr("leave one")));
  folder_.write("model.safetensors", safetensors_of({"lm_head.weight"}));
  EXPECT_EQ(open()->tensors().size(), 1u);
}

TEST_F(FolderTest, OlderFilesSayHowWeightsAreQuantized) {
  folder_.write("model.safetensors", safetensors_of({"model.norm.weight"}));
  const std::pair<const char*, const char*> older[] = {
      {"quantize_config.json", R"({"bits": 4, "group_size": 128, "desc_act": false, "sym": true})"},
      {"quant_config.json", R"({"zero_point": true, "q_group_size": 64, "w_bit": 4, "version": "GEMM"})"}};
  for (const auto& [name, text] : older) {
    folder_.write(name, text);
    const auto checkpoint = open();
    ASSERT_TRUE(checkpoint->config().quantization);
    const bool gptq = name == std::string("quantize_config.json");
    EXPECT_EQ(checkpoint->config().quantization->method, gptq ? QuantizationMethod::kGptq : QuantizationMethod::kAwq);
    EXPECT_EQ(checkpoint->config().quantization->group, gptq ? 128 : 64);
    fs::remove(folder_.path() / name);
  }
  EXPECT_FALSE(open()->config().quantization);
}

TEST_F(FolderTest, QuantizedWeightsWithoutAConfigurationAreCalledThat) {
  for (const char* part : {"qweight", "weight_packed"}) {
    const std::string module = "model.layers.0.mlp.up_proj.";
    folder_.write("model.safetensors", safetensors_of({module + part}));
    const auto checkpoint = open();
    EXPECT_THAT(test::error_text([&] { checkpoint->find(module + "weight", 1, 2); }),
                AllOf(HasSubstr("weights are quantized"), HasSubstr(module + part),
                      HasSubstr("config.json has no quantization_config")));
  }
}

TEST_F(FolderTest, PathsThatAreNoModel) {
  const auto error_at = [](const fs::path& path) { return test::error_text([&] { open_checkpoint(path); }); };
  EXPECT_THAT(error_at(folder_.path() / "absent"), HasSubstr("no such folder or file"));
  EXPECT_THAT(error_at(std::string(5000, 'x')), HasSubstr("no such folder or file"));
  EXPECT_THAT(error_at(""), HasSubstr("no such folder or file"));
  EXPECT_THAT(error_at(folder_.write("model.safetensors", "")), HasSubstr("path of its folder"));
  EXPECT_THAT(error_at(folder_.write("notes.txt", "")), HasSubstr("neither"));
}

TEST_F(FolderTest, TorchFilesWithoutSafetensors) {
  const std::string tensor = pickled::tensor(pickled::storage("HalfStorage", "0", 2), 0, {2}, {1});
  folder_.write("pytorch_model.bin", zip_of({{"a/data.pkl", pickled::state_dict({{"norm.weight", tensor}})},
                                             {"a/data/0", "\x11\x11\x11\x11"}}));
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->container(), "pytorch_model.bin");
  EXPECT_EQ(checkpoint->natural_dtype(), DType::kF16);
  EXPECT_EQ(checkpoint->find("model.norm.weight", 1, 2)->dtype(), DType::kF16);
}

TEST_F(FolderTest, SpecialTokensComeFromTheConfigWhereTheOtherFileIsSilent) {
  folder_.write("model.safetensors", safetensors_of({"model.norm.weight"}));
  EXPECT_EQ(open()->generation_config().eos_ids, std::vector<int32_t>{2});
  folder_.write("generation_config.json", R"({"eos_token_id": [7, 8]})");
  EXPECT_EQ(open()->generation_config().eos_ids, (std::vector<int32_t>{7, 8}));
  EXPECT_EQ(open()->generation_config().bos_ids, std::vector<int32_t>{1});
  folder_.write("generation_config.json", R"({"num_beams": 3})");
  EXPECT_THAT(error(), AllOf(HasSubstr("num_beams"), HasSubstr("generation_config.json")));
}

// transformers: generation_config.json alone where it is there, else what config.json has of it but old defaults.
TEST_F(FolderTest, GenerationSettingsComeFromTheConfigWhereTheOtherFileIsMissing) {
  folder_.write("model.safetensors", safetensors_of({"x.weight"}));
  const auto write = [&](const char* settings) {
    folder_.write("config.json",
                  std::string(R"({"model_type": "llama", "num_hidden_layers": 2, "eos_token_id": 7)") + settings + "}");
  };
  write(R"(, "repetition_penalty": 1.5, "suppress_tokens": [43], "max_length": 20, "num_beams": 1, "top_k": 50)");
  const GenerationConfig config = open()->generation_config();
  EXPECT_EQ(config.repetition_penalty, 1.5);
  EXPECT_EQ(config.suppressed_ids, std::vector<int32_t>{43});
  EXPECT_EQ(config.max_length, std::nullopt);
  EXPECT_EQ(config.eos_ids, std::vector<int32_t>{7});
  write(R"(, "max_length": 21)");
  EXPECT_EQ(open()->generation_config().max_length, 21);
  write(R"(, "num_beams": 3, "repetition_penalty": 1.5)");
  EXPECT_THAT(error(), AllOf(HasSubstr("config.json"), HasSubstr("num_beams is 3")));
  folder_.write("generation_config.json", R"({"max_length": 20})");
  EXPECT_EQ(open()->generation_config().repetition_penalty, std::nullopt);
  EXPECT_EQ(open()->generation_config().max_length, 20);
}

TEST(TensorName, WrappersArePeeledOffAndBuffersLeftOut) {
  const std::string query = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(canonical_tensor_name(query), query);
  EXPECT_EQ(canonical_tensor_name("layers.0.self_attn.q_proj.weight"), query);
  EXPECT_EQ(canonical_tensor_name("language_model.model.layers.0.self_attn.q_proj.weight"), query);
  EXPECT_EQ(canonical_tensor_name("model.language_model.layers.0.self_attn.q_proj.weight"), query);
  EXPECT_EQ(canonical_tensor_name("language_model.lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(canonical_tensor_name("norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_tensor_name("model.layers.0.self_attn.rotary_emb.inv_freq"), "");
  EXPECT_EQ(canonical_tensor_name("visual.blocks.0.weight"), "visual.blocks.0.weight");
}

// A golden with one byte of its header, its index or its config changed or cut opens or is refused; nothing else.
TEST(GoldenFolderDamage, CutShardsAreNamed) {
  const test::TemporaryFolder folder;
  const fs::path golden = test::find_golden("tiny/mistral-bin-sharded");
  if (golden.empty()) GTEST_SKIP() << "tiny/mistral-bin-sharded is not there";
  for (const auto& entry : fs::directory_iterator(golden))
    fs::copy_file(entry.path(), folder.path() / entry.path().filename());
  ASSERT_EQ(test::error_text([&] { open_folder(folder.path()); }), "");
  const fs::path shard = folder.path() / "pytorch_model-00002-of-00003.bin";
  fs::permissions(shard, fs::perms::owner_all);
  const std::string whole = read_text_file(shard);
  for (size_t bytes = 0; bytes < whole.size(); bytes += 997) {
    folder.write(shard.filename(), std::string_view(whole).substr(0, bytes));
    EXPECT_THAT(test::error_text([&] { open_folder(folder.path()); }), HasSubstr("pytorch_model-00002-of-00003.bin"))
        << bytes;
  }
  fs::remove(shard);
  EXPECT_THAT(test::error_text([&] { open_folder(folder.path()); }),
              HasSubstr("pytorch_model-00002-of-00003.bin is missing"));
}

}  // namespace
}  // namespace updraft::checkpoint
