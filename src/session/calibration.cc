#include "session/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <string>

#include "base/check.h"
#include "base/error.h"
#include "base/throwing_loop.h"
#include "checkpoint/error_feedback.h"
#include "model/decoder.h"
#include "model/rope.h"

namespace updraft::session {
namespace {

using checkpoint::QuantizedMatrix;
using compute::Machine;

// A matrix in memory.
class MemoryRows final : public RowSource {
 public:
  MemoryRows(int64_t rows, int64_t columns, std::vector<float> values)
      : RowSource(rows, columns, DType::kF32), values_(std::move(values)) {}
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::memcpy(out, values_.data() + begin * columns(), size_t((end - begin) * row_bytes()));
  }

 private:
  std::vector<float> values_;
};

// What a matrix was rounded to.
struct Rounded {
  std::vector<uint8_t> integers;
  std::vector<uint16_t> scales, offsets;
};

class RoundedRows final : public RowSource {
 public:
  RoundedRows(const QuantizedMatrix& matrix, const Rounded& rounded)
      : RowSource(matrix.tensor.rows(), matrix.tensor.columns(), DType::kF32),
        format_(matrix.format),
        rounded_(rounded) {}
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    const int64_t groups = format_.groups(columns());
    for (int64_t r = begin; r < end; ++r)
      dequantize_row(rounded_.integers.data() + r * columns(), rounded_.scales.data() + r * groups,
                     rounded_.offsets.empty() ? nullptr : rounded_.offsets.data() + r * groups, columns(), format_,
                     static_cast<float*>(out) + (r - begin) * columns());
  }

 private:
  QuantizedFormat format_;
  const Rounded& rounded_;
};

// One layer of a checkpoint as a model of its own, with a vocabulary of one token, whose embedding is not used.
class OneLayer final : public checkpoint::Checkpoint {
 public:
  OneLayer(const Checkpoint& whole, int layer, const std::map<std::string, RowSourcePtr>& replaced)
      : whole_(whole), layer_(layer), replaced_(replaced) {
    config_ = whole.config();
    config_.layers = 1;
    config_.vocabulary_size = 1;
    config_.tied_embeddings = true;
    if (size_t(layer) < whole.config().windows.size()) config_.windows = {whole.config().windows[size_t(layer)]};
    natural_dtype_ = DType::kF32;
  }
  const std::vector<checkpoint::TensorInfo>& tensors() const override { return none_; }
  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const override {
    constexpr std::string_view kPrefix = "model.layers.0.";
    if (name == "model.embed_tokens.weight")
      return std::make_shared<MemoryRows>(rows, columns, std::vector<float>(size_t(rows * columns), 0.0f));
    if (!name.starts_with(kPrefix)) return whole_.find(name, rows, columns);
    const std::string own = fmt::format("model.layers.{}.{}", layer_, name.substr(kPrefix.size()));
    const auto found = replaced_.find(own);
    return found == replaced_.end() ? whole_.find(own, rows, columns) : found->second;
  }

 private:
  const Checkpoint& whole_;
  int layer_;
  const std::map<std::string, RowSourcePtr>& replaced_;
  std::vector<checkpoint::TensorInfo> none_;
};

using Tell = std::function<void(double fraction)>;

// How much of all calibration is done. A piece of work gets a Tell of its own.
class Meter {
 public:
  Meter(Tell tell, double total) : tell_(std::move(tell)), total_(total) {}

  // The next piece, which is `work` of the total.
  Tell piece(double work) {
    return [this, begin = done_, work](double fraction) {
      done_ = begin + fraction * work;
      if (tell_) tell_(std::min(1.0, done_ / total_));
    };
  }

 private:
  Tell tell_;
  double total_, done_ = 0;
};

// Sums x x^T of inputs by the machine's own product: X^T is packed as a matrix, and its rows are the inputs, of which a
// step takes so few that it ends soon.
class InputProducts {
 public:
  InputProducts(Machine& machine, int64_t columns, int64_t tokens)
      : machine_(machine),
        columns_(columns),
        tokens_(tokens),
        in_(machine.allocate_rows(std::min(columns, kStepRows), tokens)) {
    for (int64_t begin = 0; begin < columns; begin += kStepRows)
      sums_.push_back(machine.allocate_rows(rows_from(begin), columns));
    clear();
  }

  void clear() {
    const std::vector<float> zero(size_t(columns_), 0.0f);
    for (int64_t i = 0; i < columns_; ++i) machine_.write_row(sum_of(i), i % kStepRows, zero);
  }

  // x: [count, columns], count at most `tokens`.
  void add(const std::vector<float>& x, int64_t count, const Tell& tell) {
    std::vector<float> turned(size_t(columns_ * tokens_), 0.0f);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t i = 0; i < columns_; ++i) turned[size_t(i * tokens_ + t)] = x[size_t(t * columns_ + i)];
    const auto rows = std::make_shared<MemoryRows>(columns_, tokens_, turned);
    const compute::Weight weight = machine_.pack({{{rows, nullptr}}}, compute::Packing::kF32);
    for (int64_t begin = 0; begin < columns_; begin += kStepRows) {
      const int64_t end = begin + rows_from(begin);
      for (int64_t i = begin; i < end; ++i)
        machine_.write_row(in_, i - begin, std::span(turned).subspan(size_t(i * tokens_), size_t(tokens_)));
      compute::StepInputs step;
      step.ids.assign(size_t(end - begin), 0);
      machine_.run({end - begin, 0}, [&] { machine_.project_add(step, in_, weight, sum_of(begin)); });
      if (const compute::StepStatus status = machine_.finish(); !status.ok) fail("{}", status.error);
      tell(double(end) / double(columns_));
    }
  }

  std::vector<float> sum() const {
    std::vector<float> values(size_t(columns_ * columns_));
    for (int64_t i = 0; i < columns_; ++i)
      machine_.read_row(sum_of(i), i % kStepRows, std::span(values).subspan(size_t(i * columns_), size_t(columns_)));
    return values;
  }

 private:
  static constexpr int64_t kStepRows = 2048;

  int64_t rows_from(int64_t begin) const { return std::min(kStepRows, columns_ - begin); }
  const compute::Rows& sum_of(int64_t i) const { return sums_[size_t(i / kStepRows)]; }

  Machine& machine_;
  int64_t columns_, tokens_;
  compute::Rows in_;
  std::vector<compute::Rows> sums_;  // of kStepRows rows each
};

// The inputs of a layer's four products.
enum Input { kToQkv, kToOutput, kToGateUp, kToDown, kInputs };

Input input_of(const std::string& name) {
  if (name.ends_with("o_proj.weight")) return kToOutput;
  if (name.ends_with("down_proj.weight")) return kToDown;
  return name.ends_with("gate_proj.weight") || name.ends_with("up_proj.weight") ? kToGateUp : kToQkv;
}

int layer_of(const std::string& name) {
  int layer = -1;
  CHECK(std::sscanf(name.c_str(), "model.layers.%d.", &layer) == 1) << name;
  return layer;
}

struct Window {
  int64_t begin, count;  // rows of the hidden states
};

// Work is counted in multiply-adds of the rounding's loops; the machine's verbs do some sixteen in the same time.
constexpr double kVerbSpeed = 16;

class CalibratedQuantizer final : public checkpoint::MatrixQuantizer {
 public:
  CalibratedQuantizer(const checkpoint::Checkpoint& checkpoint, std::vector<QuantizedMatrix> plan,
                      std::unique_ptr<Machine> machine, const std::vector<int32_t>& prefix,
                      const std::vector<int32_t>& ids, int64_t window, int threads, Tell tell)
      : checkpoint_(checkpoint),
        plan_(std::move(plan)),
        machine_(std::move(machine)),
        team_(threads > 0 ? threads : available_processors()),
        window_(window),
        hidden_(checkpoint.config().hidden_size) {
    embed(prefix, ids);
    const checkpoint::ModelConfig& config = checkpoint.config();
    columns_ = {hidden_, int64_t(config.query_heads) * config.head_dim, hidden_, config.intermediate_size};
    for (const QuantizedMatrix& matrix : plan_)
      if (layer_of(matrix.tensor.name) == 0)
        weights_[input_of(matrix.tensor.name)] += matrix.tensor.rows() * matrix.tensor.columns();
    for (const int64_t n : columns_) products_.push_back(std::make_unique<InputProducts>(*machine_, n, window));
    meter_.emplace(std::move(tell), total_work());
    ropes_.tables.push_back(model::make_rope_table(config, window, window));
  }

  void prepare(const QuantizedMatrix& matrix) override {
    for (const int wanted = layer_of(matrix.tensor.name); layer_ < wanted;) {
      ++layer_;
      round_layer();
    }
  }

  void quantize(const QuantizedMatrix& matrix, int64_t begin, int64_t end, const QuantizedRows& out) override {
    const Rounded& rounded = rounded_.at(matrix.tensor.name);
    const int64_t columns = matrix.tensor.columns(), groups = matrix.format.groups(columns);
    std::copy_n(rounded.integers.begin() + begin * columns, (end - begin) * columns, out.integers);
    std::copy_n(rounded.scales.begin() + begin * groups, (end - begin) * groups, out.scales);
    if (out.offsets != nullptr)
      std::copy_n(rounded.offsets.begin() + begin * groups, (end - begin) * groups, out.offsets);
  }

 private:
  void embed(const std::vector<int32_t>& prefix, const std::vector<int32_t>& ids) {
    const int64_t vocabulary = checkpoint_.config().vocabulary_size, text = window_ - int64_t(prefix.size());
    const RowSourcePtr table = checkpoint_.find("model.embed_tokens.weight", vocabulary, hidden_);
    std::vector<float> row(static_cast<size_t>(hidden_));
    const auto append = [&](int32_t id) {
      if (id < 0 || id >= vocabulary) fail("The tokenizer gives the id {} of {}.", id, vocabulary);
      checkpoint::read_rows_f32(*table, id, id + 1, row.data());
      states_.insert(states_.end(), row.begin(), row.end());
    };
    for (int64_t begin = 0; begin < int64_t(ids.size()); begin += text) {
      const int64_t end = std::min(int64_t(ids.size()), begin + text);
      windows_.push_back({int64_t(states_.size()) / hidden_, int64_t(prefix.size()) + end - begin});
      for (const int32_t id : prefix) append(id);
      for (int64_t i = begin; i < end; ++i) append(ids[size_t(i)]);
    }
  }

  double verb_work(Input input, int64_t tokens) const { return double(weights_[input] * tokens) / kVerbSpeed; }
  double product_work(Input input, int64_t tokens) const {
    return double(columns_[input] * columns_[input]) * double(tokens) / kVerbSpeed;
  }
  double feedback_work(Input input) const { return std::pow(double(columns_[input]), 3) / 3; }
  static double rounding_work(int64_t weights, int64_t columns) { return double(weights) * double(columns) / 2; }

  double total_work() const {
    const int64_t tokens = int64_t(states_.size()) / hidden_;
    double collecting = 0, rounding = 0, moving_on = 0;
    for (const Input input : {kToQkv, kToOutput, kToGateUp, kToDown}) {
      collecting += product_work(input, tokens) + (input == kToDown ? 0 : verb_work(input, tokens));
      rounding += feedback_work(input) + rounding_work(weights_[input], columns_[input]);
      moving_on += verb_work(input, tokens);
    }
    return double(checkpoint_.config().layers) * (collecting + rounding + moving_on) - moving_on;
  }

  void round_layer() {
    rounded_.clear();
    std::map<std::string, RowSourcePtr> replaced;
    for (auto& products : products_) products->clear();
    run_layer(replaced, true);
    for (const Input input : {kToQkv, kToOutput, kToGateUp, kToDown}) {
      const checkpoint::ErrorFeedback feedback(products_[input]->sum(), columns_[input], team_,
                                               meter_->piece(feedback_work(input)));
      for (const QuantizedMatrix& matrix : plan_) {
        if (layer_of(matrix.tensor.name) != layer_ || input_of(matrix.tensor.name) != input) continue;
        Rounded& rounded = rounded_[matrix.tensor.name];
        round_matrix(matrix, feedback, rounded);
        replaced[matrix.tensor.name] = std::make_shared<RoundedRows>(matrix, rounded);
      }
    }
    if (layer_ + 1 < checkpoint_.config().layers) run_layer(replaced, false);
  }

  void round_matrix(const QuantizedMatrix& matrix, const checkpoint::ErrorFeedback& feedback, Rounded& rounded) {
    const int64_t rows = matrix.tensor.rows(), columns = matrix.tensor.columns();
    const int64_t groups = matrix.format.groups(columns);
    std::vector<float> weights(static_cast<size_t>(rows * columns));
    checkpoint::read_rows_f32(*checkpoint_.find(matrix.tensor.name, rows, columns), 0, rows, weights.data());
    for (const float w : weights)
      if (!std::isfinite(w)) fail("{}: holds a weight that is not finite.", matrix.tensor.name);
    rounded.integers.resize(size_t(rows * columns));
    rounded.scales.resize(size_t(rows * groups));
    if (matrix.format.offset != Offset::kNone) rounded.offsets.resize(rounded.scales.size());
    const Tell tell = meter_->piece(rounding_work(rows * columns, columns));
    std::atomic<int64_t> done = 0;
    throwing_parallel_for(team_, rows, 16, [&](int64_t begin, int64_t end, int member) {
      feedback.quantize(weights.data() + begin * columns, end - begin, matrix.format,
                        {rounded.integers.data() + begin * columns, rounded.scales.data() + begin * groups,
                         rounded.offsets.empty() ? nullptr : rounded.offsets.data() + begin * groups});
      done += end - begin;
      if (member == 0) tell(double(done.load()) / double(rows));
    });
    tell(1);
  }

  // Every window through the layer. collecting: sums up the inputs and leaves the states; else the states move on.
  void run_layer(const std::map<std::string, RowSourcePtr>& replaced, bool collecting) {
    const OneLayer one(checkpoint_, layer_, replaced);
    const Tell loading = meter_->piece(0);
    const model::Decoder decoder(one.config(), model::load_decoder_weights(one, *machine_, {.dtype = DType::kF32},
                                                                           [&](int64_t, int64_t) { loading(0); }));
    const int64_t page_tokens = machine_->info().page_tokens, pages = (window_ + page_tokens - 1) / page_tokens;
    model::Workspace w = decoder.make_workspace(*machine_, window_, 1, compute::KvType::kF32, pages);
    for (const Window& window : windows_) run_window(decoder, w, pages, window, collecting);
  }

  void run_window(const model::Decoder& decoder, model::Workspace& w, int64_t pages, const Window& window,
                  bool collecting) {
    compute::StepInputs in;
    for (int64_t t = 0; t < window.count; ++t) {
      in.ids.push_back(0);
      in.positions.push_back(int32_t(t));
      in.sequences.push_back(0);
      in.rope_tables.push_back(0);
      machine_->write_row(w.x, t, state(window, t));
    }
    in.page_tables.resize(size_t(pages));
    std::iota(in.page_tables.begin(), in.page_tables.end(), 0);
    in.sequence.push_back({0, int32_t(window.count), 0, int32_t(pages)});

    const model::LayerWeights& layer = decoder.weights().layers.front();
    const compute::KvLayer kv{w.kv.get(), 0};
    const auto step = [&](Input input, FunctionRef<void()> verbs) {
      machine_->run({window.count, 0}, verbs);
      if (const compute::StepStatus status = machine_->finish(); !status.ok) fail("{}", status.error);
      meter_->piece(verb_work(input, window.count))(1);
    };
    const auto collect = [&](Input input, const compute::Rows& rows, const char* norm) {
      if (collecting)
        products_[input]->add(inputs(rows, window.count, norm), window.count,
                              meter_->piece(product_work(input, window.count)));
    };
    collect(kToQkv, w.x, "input_layernorm");
    step(kToQkv, [&] {
      machine_->project_qkv(in, w.x, layer.attention_norm, layer.qkv, layer.attention, ropes_, kv, w.q);
      machine_->attend(in, w.q, layer.attention, kv, w.attended);
    });
    collect(kToOutput, w.attended, nullptr);
    step(kToOutput, [&] { machine_->project_add(in, w.attended, layer.output, w.x); });
    collect(kToGateUp, w.x, "post_attention_layernorm");
    step(kToGateUp, [&] { machine_->gated_project(in, w.x, layer.mlp_norm, layer.gate_up, w.hidden); });
    collect(kToDown, w.hidden, nullptr);
    if (collecting) return;
    step(kToDown, [&] { machine_->project_add(in, w.hidden, layer.down, w.x); });
    for (int64_t t = 0; t < window.count; ++t) machine_->read_row(w.x, t, state(window, t));
  }

  std::span<float> state(const Window& window, int64_t t) {
    return std::span(states_).subspan(size_t((window.begin + t) * hidden_), size_t(hidden_));
  }

  // Rows [count, columns] as the product sees them: behind the norm, where there is one.
  std::vector<float> inputs(const compute::Rows& rows, int64_t count, const char* norm) const {
    const int64_t columns = rows->columns;
    std::vector<float> values(static_cast<size_t>(count * columns)), weight;
    if (norm != nullptr) {
      weight.resize(size_t(columns));
      const std::string name = fmt::format("model.layers.{}.{}.weight", layer_, norm);
      checkpoint::read_rows_f32(*checkpoint_.find(name, 1, columns), 0, 1, weight.data());
    }
    for (int64_t t = 0; t < count; ++t) {
      const std::span<float> row = std::span(values).subspan(size_t(t * columns), size_t(columns));
      machine_->read_row(rows, t, row);
      if (norm == nullptr) continue;
      double squares = 0;
      for (const float x : row) squares += double(x) * x;
      const double factor = 1 / std::sqrt(squares / double(columns) + checkpoint_.config().norm_epsilon);
      for (int64_t i = 0; i < columns; ++i) row[size_t(i)] = float(row[size_t(i)] * factor) * weight[size_t(i)];
    }
    return values;
  }

  const checkpoint::Checkpoint& checkpoint_;
  std::vector<QuantizedMatrix> plan_;
  std::unique_ptr<Machine> machine_;
  ThreadTeam team_;
  int64_t window_, hidden_;
  std::array<int64_t, kInputs> columns_, weights_ = {};  // of a layer's matrices, by Input
  int layer_ = -1;                                       // the last one rounded
  std::vector<float> states_;                            // [tokens, hidden] before layer_ + 1
  std::vector<Window> windows_;
  std::vector<std::unique_ptr<InputProducts>> products_;  // by Input
  compute::RopeTables ropes_;
  std::map<std::string, Rounded> rounded_;  // of layer_
  std::optional<Meter> meter_;
};

}  // namespace

std::unique_ptr<checkpoint::MatrixQuantizer> make_calibrated_quantizer(
    const checkpoint::Checkpoint& checkpoint, std::vector<QuantizedMatrix> plan, std::unique_ptr<Machine> machine,
    const std::vector<int32_t>& prefix, const std::vector<int32_t>& ids, int64_t window, int threads, Tell tell) {
  CHECK(window > int64_t(prefix.size())) << window;
  if (int64_t(ids.size()) < window)
    fail("--calibrate: {} tokens are too few to calibrate with; give a text of at least {}.", ids.size(), window);
  return std::make_unique<CalibratedQuantizer>(checkpoint, std::move(plan), std::move(machine), prefix, ids, window,
                                               threads, std::move(tell));
}

}  // namespace updraft::session
