#include "model/decoder_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"

namespace updraft::model {
namespace {

using checkpoint::Checkpoint;
using checkpoint::ModelConfig;
using compute::MatrixSource;
using compute::Weight;

// Bytes read so far, told to the caller by one thread at a time; a thread that finds another telling goes on reading.
class ReadCounter {
 public:
  ReadCounter(int64_t total, const std::function<void(int64_t, int64_t)>& tell) : total_(total), tell_(tell) {}

  void add(int64_t bytes) {
    done_ += bytes;
    if (!tell_) return;
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) tell_(done_, total_);
  }

  void finish() const {
    if (tell_) tell_(total_, total_);
  }

 private:
  const int64_t total_;
  const std::function<void(int64_t, int64_t)>& tell_;
  std::atomic<int64_t> done_ = 0;
  std::mutex mutex_;
};

class CountedRows final : public RowSource {
 public:
  CountedRows(RowSourcePtr source, const std::string& name, int64_t stored_bytes, ReadCounter& counter)
      : RowSource(source->rows(), source->columns(), source->dtype(), name),
        source_(std::move(source)),
        stored_row_bytes_(double(stored_bytes) / double(std::max<int64_t>(rows(), 1))),
        counter_(counter) {}

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    source_->read_rows(begin, end, out);
    counter_.add(int64_t(double(end - begin) * stored_row_bytes_));
  }
  std::shared_ptr<const std::byte> view_rows(int64_t begin, int64_t end) const override {
    auto view = source_->view_rows(begin, end);
    if (view) counter_.add(int64_t(double(end - begin) * stored_row_bytes_));
    return view;
  }

 private:
  RowSourcePtr source_;
  double stored_row_bytes_;
  ReadCounter& counter_;
};

// The same for rows that are integers.
class CountedIntegers final : public QuantizedRowSource {
 public:
  CountedIntegers(std::shared_ptr<const QuantizedRowSource> source, const std::string& name, int64_t stored_bytes,
                  ReadCounter& counter)
      : QuantizedRowSource(source->rows(), source->columns(), source->format(), name),
        source_(std::move(source)),
        stored_row_bytes_(double(stored_bytes) / double(std::max<int64_t>(rows(), 1))),
        counter_(counter) {}

  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    source_->read_quantized(begin, end, out);
    counter_.add(int64_t(double(end - begin) * stored_row_bytes_));
  }
  std::span<const int32_t> input_order() const override { return source_->input_order(); }

 private:
  std::shared_ptr<const QuantizedRowSource> source_;
  double stored_row_bytes_;
  ReadCounter& counter_;
};

using Integers = std::shared_ptr<const QuantizedRowSource>;

// A part of a matrix as the checkpoint has it.
struct StoredPart {
  RowSourcePtr rows;
  RowSourcePtr bias;
  std::string stored_type;
  std::optional<checkpoint::StoredIntegers> integers;
};

// Finds tensors by name, notes which ones were used, and packs them.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, compute::Machine& machine, const WeightChoice& choice, ReadCounter& counter)
      : checkpoint_(checkpoint), machine_(machine), choice_(choice), counter_(counter) {}

  // Norms and biases are a millionth of a model: they stay in F32, whatever --dtype says of matrices.
  compute::Norm norm(const std::string& name, int columns) {
    std::vector<float> values(static_cast<size_t>(columns));
    checkpoint::convert(find(name, 1, columns), DType::kF32)->read_rows(0, 1, values.data());
    return {machine_.pack_vector(values), checkpoint_.config().norm_epsilon};
  }

  StoredPart part(const std::string& module, int64_t rows, int64_t columns, bool bias) {
    StoredPart part;
    part.rows = find(module + ".weight", rows, columns);
    if (bias) part.bias = checkpoint::convert(find(module + ".bias", 1, rows), DType::kF32);
    if (const checkpoint::TensorInfo* info = checkpoint_.info(module + ".weight"))
      part.stored_type = info->stored_type, part.integers = info->integers;
    return part;
  }

  Weight pack(MatrixRole role, const std::vector<StoredPart>& parts) {
    std::vector<std::optional<checkpoint::StoredIntegers>> stored;
    stored.reserve(parts.size());
    for (const StoredPart& part : parts) stored.push_back(part.integers);
    Kept kept = choose_packing(choice_, role, checkpoint_.natural_dtype(), stored);
    MatrixSource source;
    if (compute::is_integer(kept.packing)) {
      const bool same_order = have_same_order(parts);
      // Rounded a second time, 4 bits would lose ten times what 8 do.
      if (!same_order && choice_ == WeightChoice{})
        kept = {.packing = compute::Packing::kInt8, .format = {.bits = 8, .group = 32}};
      for (const StoredPart& part : parts) source.parts.push_back({integers(part, kept.format, same_order), part.bias});
    } else {
      for (const StoredPart& part : parts)
        source.parts.push_back({checkpoint::convert(part.rows, kept.dtype()), part.bias});
    }
    return machine_.pack(source, kept.packing);
  }

  // A tensor that no part of the model reads means that config.json describes another model.
  void refuse_unexpected(bool tied) const {
    for (const checkpoint::TensorInfo& info : checkpoint_.tensors()) {
      if (used_.count(info.name) > 0 || info.name.ends_with(".rotary_emb.inv_freq")) continue;
      if (tied && info.name == "lm_head.weight") continue;
      fail(
          "{}: the tensor {} (in {}) is not part of a {}; config.json and the weights do not belong together: fetch "
          "both from one place.",
          checkpoint_.path().string(), info.name, info.file, checkpoint_.config().architecture_name);
    }
  }

  std::set<std::string> rounded;

 private:
  RowSourcePtr find(const std::string& name, int64_t rows, int64_t columns) {
    used_.insert(name);
    RowSourcePtr source = checkpoint_.find(name, rows, columns);
    const checkpoint::TensorInfo* info = checkpoint_.info(name);
    const int64_t bytes = info != nullptr ? info->stored_bytes : rows * source->row_bytes();
    if (Integers quantized = std::dynamic_pointer_cast<const QuantizedRowSource>(source))
      return std::make_shared<CountedIntegers>(std::move(quantized), name, bytes, counter_);
    return std::make_shared<CountedRows>(std::move(source), name, bytes, counter_);
  }

  static bool have_same_order(const std::vector<StoredPart>& parts) {
    const auto order = [](const StoredPart& part) {
      const auto* quantized = dynamic_cast<const QuantizedRowSource*>(part.rows.get());
      return quantized == nullptr ? std::span<const int32_t>() : quantized->input_order();
    };
    const std::span<const int32_t> first = order(parts.front());
    return std::all_of(parts.begin(), parts.end(), [&](const StoredPart& part) {
      const std::span<const int32_t> mine = order(part);
      return std::equal(mine.begin(), mine.end(), first.begin(), first.end());
    });
  }

  // The stored integers where the format can hold them, else the nearest. Parts in different orders of columns share
  // the natural one, in which none of the stored groups is one.
  RowSourcePtr integers(const StoredPart& part, const QuantizedFormat& format, bool same_order) {
    if (const Integers stored = std::dynamic_pointer_cast<const QuantizedRowSource>(part.rows); stored && same_order)
      if (Integers wide = widen(stored, format)) return wide;
    if (choice_ == WeightChoice{}) rounded.insert(part.stored_type + " to " + updraft::name(format));
    return quantize(part.rows, format);
  }

  const Checkpoint& checkpoint_;
  compute::Machine& machine_;
  const WeightChoice choice_;
  ReadCounter& counter_;
  std::set<std::string> used_;
};

LayerWeights load_layer(Loader& load, const ModelConfig& config, int index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
  const int64_t queries = int64_t(config.query_heads) * config.head_dim;
  const int64_t keys = int64_t(config.key_value_heads) * config.head_dim;

  LayerWeights layer;
  layer.index = index;
  layer.attention.query_heads = config.query_heads;
  layer.attention.key_value_heads = config.key_value_heads;
  layer.attention.head_dim = config.head_dim;
  layer.attention.scale = float(1 / std::sqrt(double(config.head_dim)));
  layer.attention.window = size_t(index) < config.windows.size() ? config.windows[size_t(index)] : 0;
  if (config.query_key_norm) {
    layer.attention.query_norm = load.norm(prefix + "self_attn.q_norm.weight", config.head_dim);
    layer.attention.key_norm = load.norm(prefix + "self_attn.k_norm.weight", config.head_dim);
  }
  layer.attention_norm = load.norm(prefix + "input_layernorm.weight", config.hidden_size);
  layer.mlp_norm = load.norm(prefix + "post_attention_layernorm.weight", config.hidden_size);
  layer.qkv = load.pack(MatrixRole::kLayer, {load.part(prefix + "self_attn.q_proj", queries, hidden, config.qkv_bias),
                                             load.part(prefix + "self_attn.k_proj", keys, hidden, config.qkv_bias),
                                             load.part(prefix + "self_attn.v_proj", keys, hidden, config.qkv_bias)});
  layer.output = load.pack(MatrixRole::kLayer,
                           {load.part(prefix + "self_attn.o_proj", hidden, queries, config.attention_output_bias)});
  layer.gate_up =
      load.pack(MatrixRole::kLayer, {load.part(prefix + "mlp.gate_proj", intermediate, hidden, config.mlp_bias),
                                     load.part(prefix + "mlp.up_proj", intermediate, hidden, config.mlp_bias)});
  layer.down =
      load.pack(MatrixRole::kLayer, {load.part(prefix + "mlp.down_proj", hidden, intermediate, config.mlp_bias)});
  return layer;
}

int64_t bytes_of(const compute::Norm& norm) { return norm.weight ? norm.weight->bytes : 0; }

}  // namespace

DecoderWeights load_decoder_weights(const Checkpoint& checkpoint, compute::Machine& machine, const WeightChoice& choice,
                                    const std::function<void(int64_t done, int64_t total)>& loaded) {
  const ModelConfig& config = checkpoint.config();
  int64_t total = 0;
  for (const checkpoint::TensorInfo& info : checkpoint.tensors()) total += info.stored_bytes;
  ReadCounter counter(total, loaded);
  Loader load(checkpoint, machine, choice, counter);

  DecoderWeights weights;
  const MatrixRole table = config.tied_embeddings ? MatrixRole::kHead : MatrixRole::kEmbedding;
  weights.embedding =
      load.pack(table, {load.part("model.embed_tokens", config.vocabulary_size, config.hidden_size, false)});
  for (int index = 0; index < config.layers; ++index) weights.layers.push_back(load_layer(load, config, index));
  weights.final_norm = load.norm("model.norm.weight", config.hidden_size);
  weights.head =
      config.tied_embeddings
          ? weights.embedding
          : load.pack(MatrixRole::kHead, {load.part("lm_head", config.vocabulary_size, config.hidden_size, false)});
  load.refuse_unexpected(config.tied_embeddings);
  counter.finish();
  weights.rounded = std::move(load.rounded);
  return weights;
}

std::string DecoderWeights::packing_names() const {
  const auto name_of = [](const compute::PackedMatrix& matrix) {
    return compute::is_integer(matrix.packing) ? updraft::name(matrix.format)
                                               : std::string(compute::name(matrix.packing));
  };
  std::string all;
  std::set<std::string> seen;
  const auto add = [&](const std::string& what, const Weight& matrix) {
    const std::string packing = name_of(*matrix);
    if (seen.insert(packing).second) all += fmt::format("{}{}{}", all.empty() ? "" : ", ", what, packing);
  };
  for (const LayerWeights& layer : layers)
    for (const Weight& matrix : {layer.qkv, layer.output, layer.gate_up, layer.down}) add("", matrix);
  add(all.empty() ? "" : "head ", head);
  add("embedding ", embedding);
  return all;
}

std::string DecoderWeights::activation_names(const compute::MachineInfo& info) const {
  std::string all;
  std::set<std::string> seen;
  const auto add = [&](const Weight& matrix) {
    const std::string& activations = compute::activations(info, matrix->packing);
    if (seen.insert(activations).second) all += (all.empty() ? "" : ", ") + activations;
  };
  for (const LayerWeights& layer : layers)
    for (const Weight& matrix : {layer.qkv, layer.output, layer.gate_up, layer.down}) add(matrix);
  add(head);
  return all;
}

std::vector<compute::Weight> DecoderWeights::streamed() const {
  std::vector<compute::Weight> list;
  for (const LayerWeights& layer : layers)
    list.insert(list.end(), {layer.qkv, layer.output, layer.gate_up, layer.down});
  list.push_back(head);
  return list;
}

int64_t DecoderWeights::bytes_streamed_per_step() const {
  int64_t sum = bytes_of(final_norm);
  for (const compute::Weight& weight : streamed()) sum += weight->bytes;
  for (const LayerWeights& layer : layers) {
    sum += bytes_of(layer.attention_norm) + bytes_of(layer.mlp_norm);
    sum += bytes_of(layer.attention.query_norm) + bytes_of(layer.attention.key_norm);
  }
  return sum;
}

int64_t DecoderWeights::bytes() const { return bytes_streamed_per_step() + (head == embedding ? 0 : embedding->bytes); }

}  // namespace updraft::model
