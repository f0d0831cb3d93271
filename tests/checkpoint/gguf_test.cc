// GGUF against the PyPI package `gguf` (tools/make_gguf_goldens.py): values with ==, then config, vocabulary, refusals,
// and damaged files.
#include "checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/half.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_rows.h"
#include "tests/checkpoint/torch_file_builder.h"
#include "tests/support/crc32.h"
#include "tests/support/goldens.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

std::filesystem::path golden(const std::string& name) { return test::find_golden("gguf/" + name); }

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

// Rows [begin, end) as F32, exactly.
std::vector<float> read_floats(const RowSource& source, int64_t begin, int64_t end) {
  const size_t count = size_t((end - begin) * source.columns());
  std::vector<float> values(count);
  if (source.dtype() == DType::kF32) {
    source.read_rows(begin, end, values.data());
    return values;
  }
  std::vector<uint16_t> bits(count);
  source.read_rows(begin, end, bits.data());
  for (size_t i = 0; i < count; ++i)
    values[i] = source.dtype() == DType::kF16 ? to_float(half_t{bits[i]}) : to_float(bfloat16_t{bits[i]});
  return values;
}

TEST(GoldenGgufTypes, EveryTypeGivesTheValuesOfThePythonPackage) {
  const auto file = std::make_shared<File>(golden("types.gguf"));
  const GgufFile parsed = parse_gguf(*file);
  std::set<std::string_view> types, integer_types;
  for (const GgufTensor& tensor : parsed.tensors) {
    const GgufTensor* expected_tensor = find_tensor(parsed, tensor.name + ".expected");
    if (expected_tensor == nullptr) continue;
    const RowSourcePtr source = make_gguf_rows(file, tensor, 0), expected = make_gguf_rows(file, *expected_tensor, 0);
    const std::vector<float> ours = read_floats(*source, 0, source->rows());
    const std::vector<float> theirs = read_floats(*expected, 0, expected->rows());
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(ours[i]), std::bit_cast<uint32_t>(theirs[i])) << tensor.name << " at " << i;
    types.insert(tensor.type->name);
    const bool as_integers = std::dynamic_pointer_cast<const QuantizedRowSource>(source) != nullptr;
    EXPECT_EQ(as_integers, stored_integers(tensor.type->type).has_value() && stored_integers(tensor.type->type)->exact);
    if (as_integers) integer_types.insert(tensor.type->name);
  }
  EXPECT_EQ(types.size(), 11u);
  EXPECT_EQ(integer_types, (std::set<std::string_view>{"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}));
}

void expect_checksums(const Checkpoint& checkpoint, const nlohmann::json& expected) {
  EXPECT_EQ(checkpoint.tensors().size(), expected.size());
  for (const TensorInfo& info : checkpoint.tensors()) {
    ASSERT_TRUE(expected.contains(info.name)) << info.name;
    const auto& golden_tensor = expected.at(info.name);
    EXPECT_EQ(info.shape, golden_tensor.at("shape").get<std::vector<int64_t>>()) << info.name;
    EXPECT_EQ(info.stored_type, golden_tensor.at("type").get<std::string>()) << info.name;
    const int64_t rows = info.shape.size() == 2 ? info.shape[0] : 1;
    const RowSourcePtr source = checkpoint.find(info.name, rows, info.shape.back());
    uint32_t crc = 0;
    for (int64_t row = 0; row < rows;) {  // odd ranges, so that they cut heads in pieces
      const int64_t end = std::min<int64_t>(rows, row + 37);
      const std::vector<float> values = read_floats(*source, row, end);
      crc = test::crc32(std::as_bytes(std::span(values)), crc);
      row = end;
    }
    EXPECT_EQ(crc, golden_tensor.at("crc32").get<uint32_t>()) << info.name;
  }
}

TEST(GoldenGgufModels, TensorsByHuggingFacesNamesShapesAndRowOrder) {
  const nlohmann::json models = read_json(golden("models.json"));
  for (const auto& [name, expected] : models.items()) {
    SCOPED_TRACE(name);
    expect_checksums(*open_gguf(golden(name + ".gguf")), expected);
  }
}

TEST(GoldenGgufModels, KeysBecomeTheConfig) {
  const auto llama = open_gguf(golden("llama.gguf"));
  EXPECT_EQ(llama->container(), "gguf");
  EXPECT_EQ(llama->natural_dtype(), DType::kF16);
  const ModelConfig& c = llama->config();
  EXPECT_EQ(c.architecture, Architecture::kLlama);
  EXPECT_EQ(c.hidden_size, 64);
  EXPECT_EQ(c.layers, 2);
  EXPECT_EQ(c.query_heads, 4);
  EXPECT_EQ(c.key_value_heads, 2);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.vocabulary_size, 32);
  EXPECT_EQ(c.max_context, 512);
  EXPECT_EQ(c.norm_epsilon, 1e-5f);
  EXPECT_EQ(c.rope.theta, 50000);
  EXPECT_EQ(c.rope.kind, RopeKind::kDefault);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_TRUE(c.qkv_bias);
  EXPECT_FALSE(c.attention_output_bias);
  EXPECT_THAT(c.windows, testing::ElementsAre(0, 0));
  EXPECT_THAT(llama->generation_config().eos_ids, testing::ElementsAre(2, 5));
  EXPECT_THAT(llama->generation_config().bos_ids, testing::ElementsAre(1));

  const auto llama3 = open_gguf(golden("llama3.gguf"));
  EXPECT_EQ(llama3->natural_dtype(), DType::kBF16);
  EXPECT_FALSE(llama3->config().tied_embeddings);
  EXPECT_EQ(llama3->config().rope.kind, RopeKind::kLongrope);
  EXPECT_THAT(llama3->config().rope.short_factor, testing::ElementsAre(1, 1, 3, 4));
  EXPECT_EQ(llama3->config().rope.short_factor, llama3->config().rope.long_factor);
  EXPECT_EQ(llama3->config().rope.attention_factor, 1.0);

  const auto mistral = open_gguf(golden("mistral.gguf"));
  EXPECT_EQ(mistral->config().architecture, Architecture::kMistral);
  EXPECT_THAT(mistral->config().windows, testing::ElementsAre(48));

  const auto qwen2 = open_gguf(golden("qwen2.gguf"));
  EXPECT_EQ(qwen2->config().architecture, Architecture::kQwen2);
  EXPECT_EQ(qwen2->config().rope.kind, RopeKind::kYarn);
  EXPECT_EQ(qwen2->config().rope.factor, 4);
  EXPECT_EQ(qwen2->config().rope.original_context, 128);

  const auto qwen3 = open_gguf(golden("qwen3.gguf"));
  EXPECT_EQ(qwen3->config().architecture, Architecture::kQwen3);
  EXPECT_EQ(qwen3->config().head_dim, 16);
  EXPECT_TRUE(qwen3->config().query_key_norm);
  EXPECT_EQ(qwen3->natural_dtype(), DType::kBF16);
}

TEST(GoldenGgufModels, TheVocabularyIsKept) {
  const auto llama = open_gguf(golden("llama.gguf")), qwen2 = open_gguf(golden("qwen2.gguf"));
  const EmbeddedVocabulary* v = llama->vocabulary();
  ASSERT_NE(v, nullptr);
  EXPECT_EQ(v->model, "llama");
  EXPECT_EQ(v->tokens.size(), 32u);
  EXPECT_EQ(v->tokens[7], "<7>");
  EXPECT_EQ(v->scores.at(7), -7.0f);
  EXPECT_EQ(v->types.at(0), 3);
  EXPECT_EQ(v->types.at(3), 1);
  EXPECT_EQ(v->bos_id, 1);
  EXPECT_EQ(v->eos_id, 2);
  EXPECT_EQ(v->unknown_id, -1);
  EXPECT_EQ(v->add_bos, true);
  EXPECT_FALSE(v->add_eos.has_value());
  EXPECT_EQ(v->chat_template, "{{ messages }}");
  v = qwen2->vocabulary();
  ASSERT_NE(v, nullptr);
  EXPECT_EQ(v->model, "gpt2");
  EXPECT_EQ(v->pre, "qwen2");
  EXPECT_THAT(v->merges, testing::ElementsAre("a b", "c d"));
}

TEST(GoldenGgufModels, RangesOfRowsGiveTheSameValues) {
  const auto checkpoint = open_gguf(golden("llama.gguf"));
  test::Random random(1);
  for (const char* name : {"model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"}) {
    const RowSourcePtr source = checkpoint->find(name, 64, 64);
    const std::vector<float> whole = read_floats(*source, 0, 64);
    for (int i = 0; i < 100; ++i) {
      const int64_t begin = random.integer(0, 64), end = random.integer(begin, 64);
      const std::vector<float> part = read_floats(*source, begin, end);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin * 64)) << begin << ' ' << end;
    }
  }
  EXPECT_THROW(checkpoint->find("model.layers.0.mlp.up_proj.weight", 64, 96), Error);
  EXPECT_THROW(checkpoint->find("lm_head.weight", 32, 64), Error);
}

std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
  const File file(path);
  std::vector<std::byte> bytes(static_cast<size_t>(file.size()));
  file.read_at(0, bytes);
  return bytes;
}

// The message of the Error that opening `bytes` gives; empty when it opens (its rows are read then).
std::string refusal(const std::vector<std::byte>& bytes) {
  try {
    const auto checkpoint = open_gguf(std::make_shared<MemoryAccess>(bytes, "damaged.gguf"), "damaged.gguf");
    for (const TensorInfo& info : checkpoint->tensors()) {
      const int64_t rows = info.shape.size() == 2 ? info.shape[0] : 1;
      read_floats(*checkpoint->find(info.name, rows, info.shape.back()), 0, rows);
    }
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(GgufDamage, EveryTruncationIsRefusedByName) {
  const std::vector<std::byte> whole = read_bytes(golden("qwen2.gguf"));
  for (size_t length = 0; length < whole.size(); length += length < 4096 ? 1 : 97) {
    const std::string message = refusal({whole.begin(), whole.begin() + std::ptrdiff_t(length)});
    ASSERT_THAT(message, testing::StartsWith("damaged.gguf: ")) << length;
  }
}

TEST(GgufDamage, RandomDamageNeverDoesWorseThanAnError) {
  const std::vector<std::byte> whole = read_bytes(golden("qwen2.gguf"));
  test::Random random(1);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::byte> damaged = whole;
    for (int64_t n = random.integer(1, 3); n > 0; --n)
      damaged[size_t(random.integer(0, 2499))] =
          random.chance(0.25) ? std::byte(0xff) : std::byte(random.next() & 0xff);
    refused += !refusal(damaged).empty();
  }
  EXPECT_GT(refused, 500);
}

// Replaces `from` by `to` (of the same length) at its first place.
std::vector<std::byte> with(std::vector<std::byte> bytes, std::string_view from, std::string_view to) {
  const auto as_bytes = std::as_bytes(std::span(from));
  const auto at = std::search(bytes.begin(), bytes.end(), as_bytes.begin(), as_bytes.end());
  EXPECT_NE(at, bytes.end()) << from;
  EXPECT_EQ(from.size(), to.size());
  std::memcpy(&*at, to.data(), to.size());
  return bytes;
}

TEST(GoldenGgufModels, TheEndOfAMessageEndsGenerationToo) {
  const std::vector<std::byte> bytes =
      with(read_bytes(golden("llama.gguf")), "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eom_token_id");
  EXPECT_EQ(open_gguf(std::make_shared<MemoryAccess>(bytes, "eom.gguf"), "eom.gguf")->config().eos_ids,
            (std::vector<int32_t>{5, 2}));  // the end of a turn, of a message
}

TEST(GoldenGgufModels, ATemplateForToolsIsKept) {
  const auto text = [](const std::string& content) { return little_endian(content.size(), 8) + content; };
  const std::string key = "tokenizer.chat_template", is_text = little_endian(8, 4), value = "{{ messages }}";
  const std::string from = text(key) + is_text + text(value);
  // 32 bytes longer, so that the tensors' data stay aligned.
  const std::string to = text(key + ".tool_use") + is_text + text(value + std::string(23, ' '));
  std::vector<std::byte> bytes = read_bytes(golden("llama.gguf"));
  const auto old = std::as_bytes(std::span(from)), changed = std::as_bytes(std::span(to));
  const auto found = std::search(bytes.begin(), bytes.end(), old.begin(), old.end());
  ASSERT_NE(found, bytes.end());
  bytes.insert(bytes.erase(found, found + std::ptrdiff_t(old.size())), changed.begin(), changed.end());
  const auto opened = open_gguf(std::make_shared<MemoryAccess>(bytes, "tools.gguf"), "tools.gguf");
  EXPECT_EQ(opened->vocabulary()->tool_template.find(value), 0u);
  EXPECT_EQ(opened->vocabulary()->chat_template, "");
}

TEST(GgufDamage, WhatIsNotSupportedIsNamed) {
  const std::vector<std::byte> whole = read_bytes(golden("qwen2.gguf"));
  using testing::HasSubstr;
  EXPECT_THAT(refusal(with(whole, "qwen2", "gemma")), HasSubstr("general.architecture is \"gemma\""));
  EXPECT_THAT(refusal(with(whole, "qwen2.context_length", "qwen2.logit_softcaps")), HasSubstr("qwen2.logit_softcaps"));
  EXPECT_THAT(refusal(with(whole, "blk.0.ffn_gate.weight", "blk.1.ffn_gate.weight")),
              HasSubstr("model.layers.0.mlp.gate_proj.weight is missing"));
  EXPECT_THAT(refusal(with(whole, "blk.0.ffn_gate.weight", "blk.0.ffn_exps.weight")),
              HasSubstr("blk.0.ffn_exps.weight"));
  EXPECT_THAT(refusal(with(whole, "blk.0.attn_q.bias", "blk.0.attn_k.bias")), HasSubstr("appears twice"));
  EXPECT_THAT(refusal(with(whole, "GGUF\3", "GGUF\1")), HasSubstr("version 1"));
  EXPECT_THAT(refusal(with(whole, "GGUF", "GGML")), HasSubstr("not a GGUF file"));
  std::vector<std::byte> big_endian = whole;
  std::swap(big_endian[4], big_endian[7]);
  EXPECT_THAT(refusal(big_endian), HasSubstr("big-endian"));
  std::vector<std::byte> counted = whole;
  std::memset(&counted[8], 0x7f, 8);
  EXPECT_THAT(refusal(counted), HasSubstr("the number of tensors is"));
}

TEST(GoldenGgufSmolLm2, EveryTensorsChecksumIsThePythonPackages) {
  const char* named = std::getenv("UPDRAFT_SMOLLM2");
  const std::filesystem::path source = UPDRAFT_SOURCE_DIR;
  std::filesystem::path path = named == nullptr ? "" : named;
  for (const char* place : {"../.cache/smollm2", "../../.cache/smollm2"})
    if (path.empty() && std::filesystem::exists(source / place / "SmolLM2-135M-Instruct.Q4_1.gguf"))
      path = source / place / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (path.empty() || !std::filesystem::exists(path))
    GTEST_SKIP() << "no SmolLM2-135M-Instruct.Q4_1.gguf; name it in UPDRAFT_SMOLLM2";
  const auto checkpoint = open_gguf(path);
  expect_checksums(*checkpoint, read_json(golden("smollm2-135m-instruct.json")));
  EXPECT_EQ(checkpoint->config().vocabulary_size, 49152);
  EXPECT_TRUE(checkpoint->config().tied_embeddings);
  ASSERT_NE(checkpoint->vocabulary(), nullptr);
  EXPECT_EQ(checkpoint->vocabulary()->pre, "smollm");
  EXPECT_EQ(checkpoint->vocabulary()->merges.size(), 48900u);
}

}  // namespace
}  // namespace updraft::checkpoint
