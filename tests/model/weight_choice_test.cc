// --dtype: parsing and printing, what each choice means for each matrix, and loading with it: nothing lost where
// nothing has to be, one table where it is tied, the reference machine as the judge of values.
#include "model/weight_choice.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/half.h"
#include "checkpoint/decoder_tensors.h"
#include "model/decoder_weights.h"
#include "tests/support/random.h"

namespace updraft::model {
namespace {

using checkpoint::StoredIntegers;
using compute::Packing;

constexpr QuantizedFormat kQ4_0{4, 32, Offset::kNone, DType::kF16}, kQ4_1{4, 32, Offset::kMinimum, DType::kF16},
    kQ8_0{8, 32, Offset::kNone, DType::kF16};

TEST(WeightChoice, IsPrintedAsItIsParsed) {
  for (const char* text : {"auto", "f32", "f16", "bf16", "int8", "int8-g32", "int8-asym", "int8-g32-asym", "int4",
                           "int4-g32", "int4-asym", "int4-g32-asym"}) {
    const auto choice = parse_weight_choice(text);
    ASSERT_TRUE(choice) << text;
    EXPECT_EQ(name(*choice), text);
  }
  for (const char* text : {"", "int", "int16", "int8-g64", "INT8", "int4 ", "f64", "int4-asym-g32"})
    EXPECT_FALSE(parse_weight_choice(text)) << text;
}

Kept choose(const char* choice, MatrixRole role, std::vector<std::optional<StoredIntegers>> parts) {
  return choose_packing(*parse_weight_choice(choice), role, DType::kBF16, parts);
}

TEST(WeightChoice, TheHeadHasEightBitsAndAnEmbeddingOfItsOwnStaysHalf) {
  EXPECT_EQ(name(choose("int4", MatrixRole::kLayer, {std::nullopt})), "int4");
  EXPECT_EQ(name(choose("int4-g32-asym", MatrixRole::kLayer, {std::nullopt, std::nullopt})), "int4-g32-asym");
  EXPECT_EQ(name(choose("int4-g32-asym", MatrixRole::kHead, {std::nullopt})), "int8-g32");
  EXPECT_EQ(name(choose("int8-asym", MatrixRole::kHead, {std::nullopt})), "int8-asym");
  EXPECT_EQ(name(choose("int4", MatrixRole::kEmbedding, {std::nullopt})), "bf16");
  EXPECT_EQ(name(choose("f32", MatrixRole::kHead, {StoredIntegers{kQ4_0}})), "f32");
}

TEST(WeightChoice, AutoKeepsWhatIsStoredAndJoinsPartsWithoutLoss) {
  const auto joined = [](std::vector<std::optional<StoredIntegers>> parts) {
    return name(choose("auto", MatrixRole::kLayer, std::move(parts)));
  };
  EXPECT_EQ(joined({std::nullopt}), "bf16");
  EXPECT_EQ(joined({StoredIntegers{kQ4_0}}), "int4-g32");
  EXPECT_EQ(joined({StoredIntegers{kQ4_1}, StoredIntegers{kQ4_1}}), "int4-g32-asym");
  EXPECT_EQ(joined({StoredIntegers{kQ4_0}, StoredIntegers{kQ8_0}}), "int8-g32");
  EXPECT_EQ(joined({StoredIntegers{kQ4_1}, StoredIntegers{kQ8_0}}), "int8-g32-asym");
  EXPECT_EQ(joined({StoredIntegers{kQ8_0}, StoredIntegers{kQ4_1}, StoredIntegers{kQ4_0}}), "int8-g32-asym");
  EXPECT_EQ(joined({StoredIntegers{kQ4_0}, std::nullopt}), "bf16");
  EXPECT_EQ(name(choose("auto", MatrixRole::kEmbedding, {StoredIntegers{kQ8_0, false}})), "bf16");
}

class Integers final : public QuantizedRowSource {
 public:
  Integers(int64_t rows, int64_t columns, const QuantizedFormat& format, uint64_t stream)
      : QuantizedRowSource(rows, columns, format), stream_(stream) {}
  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    const int64_t groups = format().groups(columns());
    for (int64_t r = begin; r < end; ++r) {
      test::Random random(stream_ + uint64_t(r));
      for (int64_t k = 0; k < columns(); ++k)
        out.integers[(r - begin) * columns() + k] = uint8_t(random.integer(0, format().largest()));
      for (int64_t g = 0; g < groups; ++g) {
        out.scales[(r - begin) * groups + g] = to_half(random.normal() * 0.01f).bits;
        if (format().offset != Offset::kNone)
          out.offsets[(r - begin) * groups + g] = to_half(random.normal() * 0.1f).bits;
      }
    }
  }

 private:
  uint64_t stream_;
};

// A model whose matrices are stored in formats that differ from tensor to tensor.
class QuantizedCheckpoint final : public checkpoint::Checkpoint {
 public:
  QuantizedCheckpoint(bool tied, bool exact) {
    config_.architecture_name = "LlamaForCausalLM";
    config_.hidden_size = 96;
    config_.intermediate_size = 160;
    config_.layers = 1;
    config_.query_heads = 4;
    config_.key_value_heads = 2;
    config_.head_dim = 24;
    config_.vocabulary_size = 70;
    config_.max_context = 64;
    config_.tied_embeddings = tied;
    natural_dtype_ = DType::kF16;
    const std::map<std::string, QuantizedFormat> formats = {{"v_proj", kQ8_0}, {"k_proj", kQ4_0},
                                                            {"o_proj", kQ4_1}, {"down_proj", kQ4_0},
                                                            {"embed", kQ8_0},  {"lm_head", kQ8_0}};
    for (const checkpoint::DecoderTensor& tensor : checkpoint::decoder_tensors(config_)) {
      checkpoint::TensorInfo info{tensor.name, "Q", tensor.shape, tensor.rows() * tensor.columns(), "memory"};
      if (tensor.shape.size() == 2) info.integers = StoredIntegers{kQ4_1, exact};
      for (const auto& [part, format] : formats)
        if (tensor.name.find(part) != std::string::npos) info.integers->format = format;
      tensors_.push_back(info);
    }
  }
  const std::vector<checkpoint::TensorInfo>& tensors() const override { return tensors_; }
  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const override {
    const checkpoint::TensorInfo& tensor = *info(name);
    const uint64_t stream = std::hash<std::string_view>()(name);
    const QuantizedFormat format = tensor.integers ? tensor.integers->format : kQ8_0;
    auto integers = std::make_shared<Integers>(rows, columns, format, stream);
    if (tensor.integers && tensor.integers->exact) return integers;
    return std::make_shared<Floats>(std::move(integers));
  }

 private:
  class Floats final : public RowSource {
   public:
    explicit Floats(RowSourcePtr source) : RowSource(source->rows(), source->columns(), DType::kF32), source_(source) {}
    void read_rows(int64_t begin, int64_t end, void* out) const override { source_->read_rows(begin, end, out); }

   private:
    RowSourcePtr source_;
  };
  std::vector<checkpoint::TensorInfo> tensors_;
};

// What a weight holds, read back by embedding every row.
std::vector<float> values_of(compute::Machine& machine, const compute::Weight& w) {
  compute::StepInputs in;
  for (int64_t r = 0; r < w->rows; ++r) {
    in.ids.push_back(int32_t(r));
    in.positions.push_back(0);
    in.sequences.push_back(0);
    in.rope_tables.push_back(0);
  }
  in.sequence.push_back({0, int32_t(w->rows), 0, 0});
  const compute::Rows rows = machine.allocate_rows(w->rows, w->columns);
  machine.run({w->rows, 0}, [&] { machine.embed(in, w, rows); });
  std::vector<float> values(size_t(w->rows * w->columns));
  for (int64_t r = 0; r < w->rows; ++r)
    machine.read_row(rows, r, std::span(values).subspan(size_t(r * w->columns), size_t(w->columns)));
  return values;
}

std::vector<float> stored_values(const checkpoint::Checkpoint& checkpoint, const std::vector<std::string>& names) {
  std::vector<float> values;
  for (const std::string& name : names) {
    const checkpoint::TensorInfo& info = *checkpoint.info(name);
    std::vector<float> part(size_t(info.shape[0] * info.shape[1]));
    checkpoint.find(name, info.shape[0], info.shape[1])->read_rows(0, info.shape[0], part.data());
    values.insert(values.end(), part.begin(), part.end());
  }
  return values;
}

TEST(DecoderWeightsTest, StoredIntegersComeToMemoryWithoutLoss) {
  for (bool tied : {false, true}) {
    const QuantizedCheckpoint checkpoint(tied, true);
    for (const char* device : {"cpu", "reference"}) {
      const auto machine = compute::make_machine(device, {});
      const DecoderWeights weights = load_decoder_weights(checkpoint, *machine, {}, {});
      EXPECT_TRUE(weights.rounded.empty());
      EXPECT_EQ(weights.layers[0].qkv->format, (QuantizedFormat{8, 32, Offset::kMinimum, DType::kF16}));
      EXPECT_EQ(weights.packing_names(), "int8-g32-asym, int4-g32-asym, int4-g32, head int8-g32");
      EXPECT_EQ(weights.head == weights.embedding, tied);
      const std::string layer = "model.layers.0.";
      EXPECT_EQ(values_of(*machine, weights.layers[0].qkv),
                stored_values(checkpoint, {layer + "self_attn.q_proj.weight", layer + "self_attn.k_proj.weight",
                                           layer + "self_attn.v_proj.weight"}));
      EXPECT_EQ(values_of(*machine, weights.layers[0].gate_up),
                stored_values(checkpoint, {layer + "mlp.gate_proj.weight", layer + "mlp.up_proj.weight"}));
      EXPECT_EQ(values_of(*machine, weights.embedding), stored_values(checkpoint, {"model.embed_tokens.weight"}));
    }
  }
}

TEST(DecoderWeightsTest, WhatHasToBeRoundedIsSaid) {
  const QuantizedCheckpoint checkpoint(true, false);
  const auto machine = compute::make_reference();
  const DecoderWeights weights = load_decoder_weights(checkpoint, *machine, {}, {});
  EXPECT_EQ(weights.rounded,
            (std::set<std::string>{"Q to int8-g32-asym", "Q to int4-g32-asym", "Q to int4-g32", "Q to int8-g32"}));
  const DecoderWeights asked = load_decoder_weights(checkpoint, *machine, *parse_weight_choice("int4"), {});
  EXPECT_TRUE(asked.rounded.empty());
  EXPECT_EQ(asked.packing_names(), "int4, head int8");
  EXPECT_EQ(asked.activation_names(machine->info()), "int8 per row and group");
  // An integer step is a 15th of the range of 128 weights at most.
  const std::vector<float> kept = values_of(*machine, asked.layers[0].down);
  const std::vector<float> stored = stored_values(checkpoint, {"model.layers.0.mlp.down_proj.weight"});
  double error = 0, size = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    error += std::pow(double(kept[i]) - double(stored[i]), 2);
    size += std::pow(double(stored[i]), 2);
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(std::sqrt(error / size), 0.2);
}

}  // namespace
}  // namespace updraft::model
