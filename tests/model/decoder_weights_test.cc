// The list of tensors: everything is read once and told, what is missing or does not belong is named, a tied head is
// the embedding itself.
#include "model/decoder_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "checkpoint/decoder_tensors.h"
#include "tests/support/random.h"
#include "tests/support/run_decoder.h"

namespace updraft::model {
namespace {

using checkpoint::ModelConfig;

class FloatRows final : public RowSource {
 public:
  FloatRows(int64_t rows, int64_t columns, const std::vector<float>& values)
      : RowSource(rows, columns, DType::kF32), values_(values) {}
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::memcpy(out, values_.data() + begin * columns(), size_t((end - begin) * row_bytes()));
  }

 private:
  const std::vector<float>& values_;
};

// A model in memory, named and shaped as its config says.
class MemoryCheckpoint final : public checkpoint::Checkpoint {
 public:
  explicit MemoryCheckpoint(const ModelConfig& config) {
    config_ = config;
    path_ = "folder";
    test::Random random(1);
    for (const checkpoint::DecoderTensor& tensor : checkpoint::decoder_tensors(config))
      add(tensor.name, tensor.shape, random);
  }

  void add(const std::string& name, const std::vector<int64_t>& shape, test::Random& random) {
    int64_t elements = 1;
    for (int64_t n : shape) elements *= n;
    std::vector<float>& values = values_[name];
    for (int64_t i = 0; i < elements; ++i) values.push_back(random.normal() / std::sqrt(float(shape.back())));
    tensors_.push_back({name, "F32", shape, elements * 4, "memory"});
  }

  void remove(const std::string& name) {
    values_.erase(name);
    std::erase_if(tensors_, [&](const checkpoint::TensorInfo& info) { return info.name == name; });
  }

  float& value(const std::string& name, size_t index) { return values_.at(name).at(index); }

  const std::vector<checkpoint::TensorInfo>& tensors() const override { return tensors_; }

  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const override {
    const auto found = values_.find(std::string(name));
    if (found == values_.end()) fail("memory: there is no tensor {}", name);
    if (int64_t(found->second.size()) != rows * columns)
      fail("memory: the tensor {} is not {} x {}", name, rows, columns);
    const auto source = std::make_shared<FloatRows>(rows, columns, found->second);
    const auto order = orders_.find(std::string(name));
    if (order == orders_.end()) return source;
    return std::make_shared<OrderedRows>(quantize(source, kStored), order->second);
  }

  // From now on its integers are stored with columns in this order.
  void store_ordered(const std::string& name, std::vector<int32_t> order) {
    orders_[name] = std::move(order);
    for (checkpoint::TensorInfo& info : tensors_)
      if (info.name == name) info.stored_type = "GPTQ", info.integers = {kStored, true};
  }

 private:
  static constexpr QuantizedFormat kStored = {.bits = 4, .group = 32};

  class OrderedRows final : public QuantizedRowSource {
   public:
    OrderedRows(std::shared_ptr<const QuantizedRowSource> source, std::vector<int32_t> order)
        : QuantizedRowSource(source->rows(), source->columns(), source->format()),
          source_(std::move(source)),
          order_(std::move(order)) {}
    void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
      source_->read_quantized(begin, end, out);
    }
    std::span<const int32_t> input_order() const override { return order_; }

   private:
    std::shared_ptr<const QuantizedRowSource> source_;
    std::vector<int32_t> order_;
  };

  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, std::vector<int32_t>> orders_;
  std::vector<checkpoint::TensorInfo> tensors_;
};

ModelConfig small_config() {
  ModelConfig config;
  config.architecture_name = "MistralForCausalLM";
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.layers = 2;
  config.query_heads = 4;
  config.key_value_heads = 2;
  config.head_dim = 8;
  config.vocabulary_size = 30;
  config.max_context = 64;
  config.windows = {0, 5};
  return config;
}

std::string error_of(const MemoryCheckpoint& checkpoint, const WeightChoice& choice = {DType::kF32}) {
  const auto machine = compute::make_reference();
  try {
    load_decoder_weights(checkpoint, *machine, choice, {});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(DecoderWeights, ShapesWindowsAndProgress) {
  const MemoryCheckpoint checkpoint(small_config());
  const auto machine = compute::make_reference();
  int64_t last = 0, total = 0;
  const DecoderWeights weights =
      load_decoder_weights(checkpoint, *machine, {DType::kBF16}, [&](int64_t done, int64_t all) {
        EXPECT_GE(done, last);
        EXPECT_LE(done, all);
        last = done;
        total = all;
      });
  int64_t stored = 0;
  for (const auto& info : checkpoint.tensors()) stored += info.stored_bytes;
  EXPECT_EQ(total, stored);
  EXPECT_EQ(last, total);
  ASSERT_EQ(weights.layers.size(), 2u);
  EXPECT_EQ(weights.layers[0].qkv->rows, 8 * (4 + 2 + 2));
  EXPECT_EQ(weights.layers[0].gate_up->rows, 80);
  EXPECT_EQ(weights.layers[1].attention.window, 5);
  EXPECT_EQ(weights.layers[0].qkv->packing, compute::Packing::kBF16);
  EXPECT_EQ(weights.bytes() - weights.bytes_streamed_per_step(), weights.embedding->bytes);
  EXPECT_NE(weights.head, weights.embedding);
}

TEST(DecoderWeights, ATiedHeadIsTheEmbeddingAndAStoredOneIsIgnored) {
  ModelConfig config = small_config();
  config.tied_embeddings = true;
  MemoryCheckpoint checkpoint(config);
  test::Random random(3);
  if (checkpoint.info("lm_head.weight") == nullptr) checkpoint.add("lm_head.weight", {30, 24}, random);
  const auto machine = compute::make_reference();
  const DecoderWeights weights = load_decoder_weights(checkpoint, *machine, {DType::kF32}, {});
  EXPECT_EQ(weights.head, weights.embedding);
  EXPECT_EQ(weights.bytes(), weights.bytes_streamed_per_step());
}

TEST(DecoderWeights, AMissingTensorIsNamed) {
  for (const char* name : {"model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight",
                           "lm_head.weight", "model.layers.0.input_layernorm.weight"}) {
    MemoryCheckpoint checkpoint(small_config());
    checkpoint.remove(name);
    EXPECT_NE(error_of(checkpoint).find(name), std::string::npos) << error_of(checkpoint);
  }
  ModelConfig biased = small_config();
  biased.qkv_bias = true;
  MemoryCheckpoint checkpoint(biased);
  checkpoint.remove("model.layers.0.self_attn.k_proj.bias");
  EXPECT_NE(error_of(checkpoint).find("k_proj.bias"), std::string::npos);
}

TEST(DecoderWeights, ATensorWithValuesTooLargeForItsPackingIsNamed) {
  for (const char* name : {"model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"}) {
    MemoryCheckpoint checkpoint(small_config());
    checkpoint.value(name, 24 * 3 + 5) = 1e8f;
    EXPECT_EQ(error_of(checkpoint), "");
    EXPECT_EQ(error_of(checkpoint, {DType::kBF16}), "");
    EXPECT_EQ(error_of(checkpoint, {DType::kF16}),
              "Row 3 of " + std::string(name) +
                  " holds 1e+08: F16 ends at 65504, so it would become infinite; use --dtype bf16 or f32.");
  }
  MemoryCheckpoint checkpoint(small_config());
  checkpoint.value("model.layers.1.mlp.up_proj.weight", 24 * 3 + 5) = 1e8f;
  EXPECT_EQ(error_of(checkpoint, {{}, QuantizedFormat()}),
            "Row 3 of model.layers.1.mlp.up_proj.weight has values that are not numbers or too large to be kept as "
            "int8; use --dtype f32.");
}

// Parts that share no order of columns are rounded again: to 8 bits, of which it takes little, never to the 4 they had.
TEST(DecoderWeights, PartsInDifferentOrdersOfColumnsAreKeptIn8Bits) {
  ModelConfig config = small_config();
  config.hidden_size = 64;
  std::vector<int32_t> forward(64);
  std::iota(forward.begin(), forward.end(), 0);
  std::vector<int32_t> backward(forward.rbegin(), forward.rend());
  for (const bool same : {true, false}) {
    MemoryCheckpoint checkpoint(config);
    for (const char* part : {"q", "k", "v"})
      checkpoint.store_ordered(fmt::format("model.layers.0.self_attn.{}_proj.weight", part),
                               same || *part != 'k' ? backward : forward);
    const auto machine = compute::make_reference();
    const DecoderWeights weights = load_decoder_weights(checkpoint, *machine, {}, {});
    EXPECT_EQ(weights.layers.at(0).qkv->packing, same ? compute::Packing::kInt4 : compute::Packing::kInt8);
    EXPECT_EQ(weights.rounded, same ? std::set<std::string>() : std::set<std::string>{"GPTQ to int8-g32"});
  }
}

TEST(DecoderWeights, ATensorThatDoesNotBelongIsNamed) {
  test::Random random(2);
  MemoryCheckpoint checkpoint(small_config());
  checkpoint.add("model.layers.0.self_attn.rotary_emb.inv_freq", {4}, random);  // old files carry it; it is derived
  EXPECT_EQ(error_of(checkpoint), "");
  for (const char* name : {"model.layers.0.self_attn.q_proj.bias", "model.layers.2.mlp.up_proj.weight",
                           "model.layers.0.mlp.gate.weight"}) {
    MemoryCheckpoint odd(small_config());
    odd.add(name, {32}, random);
    EXPECT_NE(error_of(odd).find(name), std::string::npos) << error_of(odd);
    EXPECT_EQ(error_of(odd).find(odd.path().string()), 0u) << error_of(odd);
  }
}

// A chunk's length changes no bit of a whole decoder, on every machine that is here.
TEST(Decoder, ChunksChangeNoBit) {
  ModelConfig config = small_config();
  config.qkv_bias = config.mlp_bias = config.attention_output_bias = config.query_key_norm = true;
  const MemoryCheckpoint checkpoint(config);
  test::Random random(4);
  std::vector<int32_t> ids;
  for (int i = 0; i < 60; ++i) ids.push_back(int32_t(random.integer(0, config.vocabulary_size - 1)));
  for (const std::string& name : compute::machine_names()) {
    const auto machine = compute::make_machine(name, {});
    const Decoder decoder(config, load_decoder_weights(checkpoint, *machine, {DType::kBF16}, {}));
    const std::vector<float> whole = test::run_decoder(*machine, decoder, ids, compute::KvType::kF16, 60);
    for (const int64_t chunk : {1, 7, 32})
      EXPECT_EQ(test::run_decoder(*machine, decoder, ids, compute::KvType::kF16, chunk), whole) << name;
  }
}

}  // namespace
}  // namespace updraft::model
