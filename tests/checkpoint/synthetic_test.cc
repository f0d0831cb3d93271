// Synthetic models: specifications, shapes, and values that are a function of seed, tensor and element alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "base/error.h"
#include "base/half.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/synthetic_values.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

std::string refusal(const std::string& spec) {
  try {
    parse_synthetic(spec);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(SyntheticSpec, KnownNamesHaveTheirPublishedSizes) {
  // Parameters as the models' pages give them (safetensors metadata).
  const std::map<std::string, int64_t> published = {
      {"mistral-7b", 7241732096}, {"llama-2-7b", 6738415616}, {"llama-3-8b", 8030261248}, {"qwen2-0.5b", 494032768},
      {"qwen2-7b", 7615616512},   {"qwen3-8b", 8190735360},   {"smollm2-135m", 134515008}};
  for (const auto& [name, parameters] : published) {
    const SyntheticOptions options = parse_synthetic(name);
    EXPECT_EQ(options.config.parameters(), parameters) << name;
    int64_t counted = 0;
    const auto model = make_synthetic(options);
    for (const TensorInfo& info : model->tensors())
      counted += info.shape[0] * (info.shape.size() == 2 ? info.shape[1] : 1);
    EXPECT_EQ(counted, parameters) << name;
  }
}

TEST(SyntheticSpec, SettingsOverride) {
  const SyntheticOptions options = parse_synthetic("mistral-7b:layers=4,vocabulary=1000,context=64");
  EXPECT_EQ(options.config.layers, 4);
  EXPECT_EQ(options.config.windows.size(), 4u);
  EXPECT_EQ(options.config.vocabulary_size, 1000);
  EXPECT_EQ(options.config.max_context, 64);
  EXPECT_EQ(options.config.hidden_size, 4096);
  EXPECT_EQ(options.dtype, DType::kBF16);
}

TEST(SyntheticSpec, AConfigFileOrItsFolder) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "synthetic_spec";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << to_json(parse_synthetic("qwen3-8b:layers=3").config, DType::kF16).dump();
  for (const std::string& spec : {folder.string(), (folder / "config.json").string()}) {
    EXPECT_EQ(parse_synthetic(spec).config.layers, 3);
    EXPECT_EQ(parse_synthetic(spec).config.architecture, Architecture::kQwen3);
    EXPECT_EQ(parse_synthetic(spec).dtype, DType::kF16);
    EXPECT_EQ(parse_synthetic(spec + ":layers=2").config.layers, 2);
  }
  std::filesystem::remove_all(folder);
}

TEST(SyntheticSpec, WrongOnesAreNamed) {
  using testing::HasSubstr;
  EXPECT_THAT(refusal("mistral-8b"), HasSubstr("known names are mistral-7b, "));
  EXPECT_THAT(refusal("mistral-7b:width=4"), HasSubstr("no setting \"width\""));
  EXPECT_THAT(refusal("mistral-7b:layers"), HasSubstr("layers must be a whole number"));
  EXPECT_THAT(refusal("mistral-7b:layers=0"), HasSubstr("layers must be a whole number"));
  EXPECT_THAT(refusal("mistral-7b:layers=99999999999999999999"), HasSubstr("layers must be a whole number"));
  EXPECT_THAT(refusal("mistral-7b:kv_heads=5"), HasSubstr("not a multiple"));
  EXPECT_THAT(refusal(""), HasSubstr("known names"));
}

std::vector<uint16_t> bits_of(const SyntheticValues& values, int64_t begin, int64_t end, DType dtype) {
  std::vector<uint16_t> bits(static_cast<size_t>(end - begin));
  values.write(begin, end, dtype, bits.data());
  return bits;
}

TEST(SyntheticValues, AnyRangeGivesTheSameValues) {
  test::Random random(1);
  const SyntheticValues values(random.next(), "model.layers.1.mlp.up_proj.weight");
  const int64_t start = random.integer(0, int64_t(1) << 35);  // far beyond 32 bits of elements, now and then
  const std::vector<uint16_t> whole = bits_of(values, start, start + 20000, DType::kBF16);
  for (int i = 0; i < 300; ++i) {
    const int64_t begin = random.integer(0, 20000), end = random.integer(begin, 20000);
    const std::vector<uint16_t> part = bits_of(values, start + begin, start + end, DType::kBF16);
    ASSERT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin)) << begin << ' ' << end;
  }
}

TEST(SyntheticValues, EveryTypeHoldsTheSameValues) {
  for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.norm.weight"}) {
    const SyntheticValues values(3, name);
    const std::vector<uint16_t> bfloats = bits_of(values, 5, 9000, DType::kBF16),
                                halves = bits_of(values, 5, 9000, DType::kF16);
    std::vector<float> floats(8995);
    values.write(5, 9000, DType::kF32, floats.data());
    for (size_t i = 0; i < floats.size(); ++i) {
      ASSERT_EQ(floats[i], to_float(bfloat16_t{bfloats[i]})) << name << i;
      ASSERT_EQ(floats[i], to_float(half_t{halves[i]})) << name << i;
    }
  }
}

TEST(SyntheticValues, SeedTensorAndElementAllMatter) {
  const auto first = bits_of(SyntheticValues(1, "a.weight"), 0, 4096, DType::kBF16);
  const auto share_equal = [&](const std::vector<uint16_t>& other) {
    int equal = 0;
    for (size_t i = 0; i < first.size(); ++i) equal += first[i] == other[i];
    return double(equal) / double(first.size());
  };
  EXPECT_LT(share_equal(bits_of(SyntheticValues(2, "a.weight"), 0, 4096, DType::kBF16)), 0.01);  // 1/512 by chance
  EXPECT_LT(share_equal(bits_of(SyntheticValues(1, "b.weight"), 0, 4096, DType::kBF16)), 0.01);
  EXPECT_LT(share_equal(bits_of(SyntheticValues(1, "a.weight"), 4096, 8192, DType::kBF16)), 0.01);
  EXPECT_LT(share_equal(bits_of(SyntheticValues(1, "a.weight"), 1, 4097, DType::kBF16)), 0.01);
}

TEST(SyntheticValues, LookLikeWeights) {
  const SyntheticValues values(1, "model.layers.7.mlp.down_proj.weight");
  constexpr int64_t kColumns = 4096, kRows = 256;
  std::vector<float> rows(kRows * kColumns);
  values.write(0, kRows * kColumns, DType::kF32, rows.data());
  double sum = 0, squares = 0;
  for (const float value : rows) sum += double(value), squares += double(value) * double(value);
  const double count = double(rows.size()), deviation = std::sqrt(squares / count);
  EXPECT_NEAR(deviation, 0.019, 0.001);
  EXPECT_LT(std::abs(sum / count), 5 * deviation / std::sqrt(count));
  // Rows are as good as orthogonal: a matrix of them keeps its rank.
  for (int64_t a = 0; a < 40; ++a)
    for (int64_t b = 0; b < a; ++b) {
      double product = 0;
      for (int64_t i = 0; i < kColumns; ++i)
        product += double(rows[size_t(a * kColumns + i)]) * double(rows[size_t(b * kColumns + i)]);
      ASSERT_LT(std::abs(product) / (deviation * deviation * kColumns), 6 / std::sqrt(double(kColumns)))
          << a << ' ' << b;
    }
  std::vector<float> norm(kColumns);
  SyntheticValues(1, "model.layers.7.input_layernorm.weight").write(0, kColumns, DType::kF32, norm.data());
  EXPECT_THAT(norm, testing::Each(testing::AllOf(testing::Ge(1.0f), testing::Lt(1.125f))));
}

TEST(Synthetic, FindChecksNameAndShape) {
  const auto tiny = make_synthetic(parse_synthetic("tiny"));
  EXPECT_EQ(tiny->container(), "synthetic");
  EXPECT_NO_THROW(tiny->find("lm_head.weight", 512, 64));
  EXPECT_THROW(tiny->find("lm_head.weight", 64, 512), Error);
  EXPECT_THROW(tiny->find("lm_head.bias", 1, 512), Error);
}

}  // namespace
}  // namespace updraft::checkpoint
