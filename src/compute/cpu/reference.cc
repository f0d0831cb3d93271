// The reference machine: every verb of the seam in double precision and plain loops, one thread. It is the oracle that
// every other machine is tested against, and `--device reference`. Weights keep the values of their packing, K and V
// those of the cache's type; everything else is double. New KV pages are full of NaN, so that a slot read by mistake
// shows.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "base/half.h"
#include "compute/machine.h"
#include "compute/sampling.h"

namespace updraft::compute {
namespace {

constexpr int64_t kPageTokens = 16;

// What a machine takes from memory while opening; "out of memory" is the world's fault, not the programmer's.
template <class T>
std::vector<T> take_memory(int64_t count, T value, const char* what) {
  try {
    return std::vector<T>(size_t(count), value);
  } catch (const std::exception&) {
    fail("reference machine: there is not enough memory for {} ({} MB); use a smaller model or context", what,
         count * int64_t(sizeof(T)) / 1000000);
  }
}

float element(DType type, const uint8_t* bytes, int64_t i) {
  uint16_t half = 0;
  float value = 0;
  if (type == DType::kF32) {
    std::memcpy(&value, bytes + 4 * i, 4);
    return value;
  }
  std::memcpy(&half, bytes + 2 * i, 2);
  return type == DType::kF16 ? to_float(half_t{half}) : to_float(bfloat16_t{half});
}

void set_element(DType type, uint8_t* bytes, int64_t i, float value) {
  if (type == DType::kF32) {
    std::memcpy(bytes + 4 * i, &value, 4);
    return;
  }
  const uint16_t half = type == DType::kF16 ? to_half(value).bits : to_bfloat16(value).bits;
  std::memcpy(bytes + 2 * i, &half, 2);
}

struct ReferenceMatrix final : PackedMatrix {
  std::vector<uint8_t> values;       // [rows, columns] in the packing's type; integer packings dequantized to F32
  std::vector<float> bias;           // [rows] or empty
  std::vector<int32_t> input_order;  // of an integer packing: the order in which activations are grouped; empty: as is

  void read_row(int64_t row, double* out) const {
    const DType type = dtype_of(packing);
    const uint8_t* from = values.data() + row * columns * bytes_per_element(type);
    for (int64_t i = 0; i < columns; ++i) out[i] = double(element(type, from, i));
  }
};

struct ReferenceRows final : RowBuffer {
  std::vector<double> values;
  double* row(int64_t r) { return values.data() + r * columns; }
  const double* row(int64_t r) const { return values.data() + r * columns; }
};

// Values [pages, layers, 2 (K, V), key/value heads, page_tokens, head_dim], rounded to the cache's type.
struct ReferenceKv final : KvCache {
  std::vector<float> values;

  int64_t page_elements() const {
    return int64_t(geometry.layers) * 2 * geometry.key_value_heads * page_tokens * geometry.head_dim;
  }

  float* at(int layer, int part, int64_t page, int head, int64_t slot) {
    const int64_t block = (int64_t(layer) * 2 + part) * geometry.key_value_heads + head;
    return values.data() + page * page_elements() + (block * page_tokens + slot) * geometry.head_dim;
  }

  // A head row as the cache's type keeps it.
  void store(const double* row, float* to) const {
    const int64_t count = geometry.head_dim;
    for (int64_t i = 0; i < count; ++i)
      to[i] = geometry.dtype == KvType::kF16 ? to_float(to_half(float(row[i]))) : float(row[i]);
    if (geometry.dtype == KvType::kInt8) round_to_int8(to, count);
  }

  // See KvType: x = q s.
  static void round_to_int8(float* row, int64_t count) {
    float largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
      finite = finite && std::isfinite(row[i]);
      largest = std::max(largest, std::abs(row[i]));
    }
    const float scale = largest / 127, inverse = 127 / largest;
    for (int64_t i = 0; i < count; ++i)
      row[i] = !finite               ? std::numeric_limits<float>::quiet_NaN()
               : largest < 0x1p-100f ? 0
                                     : std::nearbyint(row[i] * inverse) * scale;
  }

  void copy_pages(std::span<const int32_t> from, std::span<const int32_t> to) override {
    CHECK(from.size() == to.size()) << from.size() << " pages to " << to.size();
    for (size_t i = 0; i < from.size(); ++i)
      std::copy_n(values.data() + from[i] * page_elements(), page_elements(), values.data() + to[i] * page_elements());
  }

  // Uniform with variance 1, a hash of (seed, place in the list, place in the page).
  void fill_pages(std::span<const int32_t> list, uint64_t seed) override {
    for (size_t i = 0; i < list.size(); ++i) {
      float* page = values.data() + list[i] * page_elements();
      std::vector<double> row(static_cast<size_t>(geometry.head_dim));
      for (int64_t j = 0; j < page_elements(); ++j) {
        uint64_t z = seed + 0x9e3779b97f4a7c15u * (uint64_t(i) * uint64_t(page_elements()) + uint64_t(j) + 1);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        const int64_t place = j % geometry.head_dim;
        row[size_t(place)] = (double((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1) * std::sqrt(3.0);
        if (place + 1 == geometry.head_dim) store(row.data(), page + j - place);
      }
    }
  }
};

const ReferenceMatrix& matrix(const Weight& weight) {
  const auto* mine = dynamic_cast<const ReferenceMatrix*>(weight.get());
  CHECK(mine != nullptr) << "a weight of another machine";
  return *mine;
}

ReferenceRows& buffer(const Rows& rows) {
  auto* mine = dynamic_cast<ReferenceRows*>(rows.get());
  CHECK(mine != nullptr) << "rows of another machine";
  return *mine;
}

ReferenceKv& cache(const KvLayer& layer) {
  auto* mine = dynamic_cast<ReferenceKv*>(layer.cache);
  CHECK(mine != nullptr) << "a KV cache of another machine";
  return *mine;
}

// Eight partial sums, so that a model of 100 million weights can be checked in minutes.
double dot(const double* a, const double* b, int64_t count) {
  std::array<double, 8> sums{};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int64_t j = 0; j < 8; ++j) sums[size_t(j)] += a[i + j] * b[i + j];
  for (; i < count; ++i) sums[0] += a[i] * b[i];
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

class ReferenceMachine final : public Machine {
 public:
  MachineInfo info() const override {
    MachineInfo info;
    info.name = "reference";
    info.path = "double";
    info.activations = info.other_activations = "f64";
    info.integer_activations = "int8 per row and group";
    info.packings = {Packing::kF32, Packing::kF16, Packing::kBF16, Packing::kInt8, Packing::kInt4};
    info.kv_dtypes = {KvType::kF32, KvType::kF16, KvType::kInt8};
    info.page_tokens = kPageTokens;
    info.batch_invariant = true;
    return info;
  }

  Weight pack(const MatrixSource& source, Packing packing) override {
    auto packed = std::make_shared<ReferenceMatrix>();
    packed->rows = source.rows();
    packed->columns = source.columns();
    packed->packing = packing;
    if (is_integer(packing)) {
      packed->format = source.format();
      packed->input_order.assign(source.input_order().begin(), source.input_order().end());
    }
    const DType type = dtype_of(packing);
    const int64_t row_bytes = packed->columns * bytes_per_element(type);
    packed->values = take_memory<uint8_t>(packed->rows * row_bytes, 0, "a matrix");
    int64_t first = 0;
    for (const MatrixSource::Part& part : source.parts) {
      CHECK(part.weight->columns() == packed->columns)
          << "parts of " << part.weight->columns() << " and " << packed->columns;
      std::vector<uint8_t> row(static_cast<size_t>(part.weight->row_bytes()));
      for (int64_t r = 0; r < part.weight->rows(); ++r) {
        part.weight->read_rows(r, r + 1, row.data());
        uint8_t* to = packed->values.data() + (first + r) * row_bytes;
        for (int64_t i = 0; i < packed->columns; ++i)
          set_element(type, to, i, element(part.weight->dtype(), row.data(), i));
      }
      if (part.bias) append_bias(*packed, *part.bias, first, part.weight->rows());
      first += part.weight->rows();
    }
    packed->bytes = int64_t(packed->values.size() + packed->bias.size() * sizeof(float));
    reserve(packed->columns);
    return packed;
  }

  Weight pack_vector(std::span<const float> values) override {
    auto packed = std::make_shared<ReferenceMatrix>();
    packed->rows = 1;
    packed->columns = int64_t(values.size());
    packed->values.resize(values.size_bytes());
    std::memcpy(packed->values.data(), values.data(), values.size_bytes());
    packed->bytes = int64_t(values.size_bytes());
    reserve(packed->columns);
    return packed;
  }

  Rows allocate_rows(int64_t max_rows, int64_t columns) override {
    auto rows = std::make_shared<ReferenceRows>();
    rows->max_rows = max_rows;
    rows->columns = columns;
    rows->values = take_memory<double>(max_rows * columns, 0, "the activations");
    normed_.resize(std::max(normed_.size(), rows->values.size()));
    return rows;
  }

  KvCachePtr allocate_kv(const KvGeometry& geometry, int64_t pages) override {
    auto kv = std::make_shared<ReferenceKv>();
    kv->geometry = geometry;
    kv->pages = pages;
    kv->page_tokens = kPageTokens;
    kv->values =
        take_memory<float>(pages * kv->page_elements(), std::numeric_limits<float>::quiet_NaN(), "the KV cache");
    kv->bytes = int64_t(kv->values.size() * sizeof(float));
    return kv;
  }

  void run(StepKey, FunctionRef<void()> body) override { body(); }
  StepStatus finish() override { return {}; }

  void read_row(const Rows& rows, int64_t row, std::span<float> out) const override {
    const ReferenceRows& from = buffer(rows);
    CHECK(row < from.max_rows && int64_t(out.size()) == from.columns)
        << row << " of " << from.max_rows << ", " << out.size();
    std::copy_n(from.row(row), from.columns, out.begin());
  }

  void write_row(const Rows& rows, int64_t row, std::span<const float> in) override {
    ReferenceRows& to = buffer(rows);
    CHECK(row < to.max_rows && int64_t(in.size()) == to.columns) << row << " of " << to.max_rows << ", " << in.size();
    std::copy(in.begin(), in.end(), to.row(row));
  }

  void embed(const StepInputs& in, const Weight& table, const Rows& x) override {
    for (int64_t r = 0; r < in.rows(); ++r) {
      CHECK(in.ids[size_t(r)] >= 0 && in.ids[size_t(r)] < table->rows) << "token id " << in.ids[size_t(r)];
      matrix(table).read_row(in.ids[size_t(r)], buffer(x).row(r));
    }
  }

  void project_qkv(const StepInputs& in, const Rows& x, const Norm& norm, const Weight& qkv, const AttentionSpec& spec,
                   const RopeTables& ropes, KvLayer kv, const Rows& q) override {
    ReferenceKv& pages = cache(kv);
    const int d = spec.head_dim;
    CHECK(qkv->rows == int64_t(spec.query_heads + 2 * spec.key_value_heads) * d) << qkv->rows << " rows of q, k and v";
    normalize_rows(in.rows(), x, norm);
    quantize_activations(in.rows(), matrix(qkv));
    projected_.resize(std::max(projected_.size(), size_t(in.rows() * qkv->rows)));  // grows in the first steps only
    project_rows(in.rows(), matrix(qkv), projected_.data());
    for (int64_t r = 0; r < in.rows(); ++r) {
      double* row = projected_.data() + r * qkv->rows;
      const int64_t position = in.positions[size_t(r)];
      const RopeTable& rope = *ropes.tables[size_t(in.rope_tables[size_t(r)])];
      for (int head = 0; head < spec.query_heads + spec.key_value_heads; ++head) {
        double* values = row + int64_t(head) * d;
        const Norm& head_norm = head < spec.query_heads ? spec.query_norm : spec.key_norm;
        if (head_norm.weight) normalize(values, d, head_norm, values);
        rotate(values, rope, position);
      }
      std::copy_n(row, int64_t(spec.query_heads) * d, buffer(q).row(r));
      const int64_t page = page_of(in, r, position);
      CHECK(page >= 0 && page < pages.pages) << "position " << position << " has no page to be stored in";
      for (int part = 0; part < 2; ++part)
        for (int head = 0; head < spec.key_value_heads; ++head) {
          const double* from = row + int64_t(spec.query_heads + part * spec.key_value_heads + head) * d;
          pages.store(from, pages.at(kv.layer, part, page, head, position % kPageTokens));
        }
    }
  }

  void attend(const StepInputs& in, const Rows& q, const AttentionSpec& spec, KvLayer kv, const Rows& out) override {
    for (int64_t r = 0; r < in.rows(); ++r)
      for (int head = 0; head < spec.query_heads; ++head)
        attend_head(in, r, head, spec, kv, buffer(q).row(r) + int64_t(head) * spec.head_dim,
                    buffer(out).row(r) + int64_t(head) * spec.head_dim);
  }

  void project_add(const StepInputs& in, const Rows& from, const Weight& weight, const Rows& x) override {
    std::copy_n(buffer(from).row(0), in.rows() * weight->columns, normed_.data());
    quantize_activations(in.rows(), matrix(weight));
    for (int64_t o = 0; o < weight->rows; ++o) {
      matrix(weight).read_row(o, weights_.data());
      for (int64_t r = 0; r < in.rows(); ++r)
        buffer(x).row(r)[o] +=
            dot(normed(r, weight->columns), weights_.data(), weight->columns) + bias(matrix(weight), o);
    }
  }

  void gated_project(const StepInputs& in, const Rows& x, const Norm& norm, const Weight& gate_up,
                     const Rows& hidden) override {
    normalize_rows(in.rows(), x, norm);
    const int64_t outputs = gate_up->rows / 2;
    const ReferenceMatrix& w = matrix(gate_up);
    quantize_activations(in.rows(), w);
    for (int64_t o = 0; o < outputs; ++o) {
      w.read_row(o, weights_.data());
      for (int64_t r = 0; r < in.rows(); ++r) {
        const double gate = dot(normed(r, w.columns), weights_.data(), w.columns) + bias(w, o);
        buffer(hidden).row(r)[o] = gate / (1 + std::exp(-gate));
      }
      w.read_row(outputs + o, weights_.data());
      for (int64_t r = 0; r < in.rows(); ++r)
        buffer(hidden).row(r)[o] *= dot(normed(r, w.columns), weights_.data(), w.columns) + bias(w, outputs + o);
    }
  }

  void logits(const StepInputs& in, const Rows& x, const Norm& norm, const Weight& head, const Rows& out) override {
    const ReferenceMatrix& w = matrix(head);
    for (size_t i = 0; i < in.output_rows.size(); ++i)
      normalize(buffer(x).row(in.output_rows[i]), w.columns, norm, normed(int64_t(i), w.columns));
    quantize_activations(int64_t(in.output_rows.size()), w);
    for (int64_t o = 0; o < w.rows; ++o) {
      w.read_row(o, weights_.data());
      for (size_t i = 0; i < in.output_rows.size(); ++i)
        buffer(out).row(int64_t(i))[o] = dot(normed(int64_t(i), w.columns), weights_.data(), w.columns) + bias(w, o);
    }
  }

  void sample(const StepInputs& in, const Rows& logits, Samples& out) override {
    out.resize(in.rules.size());
    logits_row_.resize(size_t(logits->columns));
    for (size_t i = 0; i < in.rules.size(); ++i) {
      read_row(logits, int64_t(i), logits_row_);
      choose(logits_row_, in.rules[i], scratch_, out[i]);
    }
  }

 private:
  static void append_bias(ReferenceMatrix& packed, const RowSource& bias, int64_t first, int64_t rows) {
    CHECK(bias.rows() == 1 && bias.columns() == rows) << "a bias of " << bias.columns() << " for " << rows << " rows";
    packed.bias.resize(size_t(packed.rows), 0.0f);
    std::vector<uint8_t> bytes(static_cast<size_t>(bias.row_bytes()));
    bias.read_rows(0, 1, bytes.data());
    for (int64_t i = 0; i < rows; ++i) packed.bias[size_t(first + i)] = element(bias.dtype(), bytes.data(), i);
  }

  static double bias(const ReferenceMatrix& w, int64_t o) { return w.bias.empty() ? 0.0 : double(w.bias[size_t(o)]); }

  static int64_t page_of(const StepInputs& in, int64_t row, int64_t position) {
    const StepInputs::Sequence& sequence = in.sequence[size_t(in.sequences[size_t(row)])];
    const int64_t page = position / kPageTokens;
    CHECK(page < sequence.page_count) << "position " << position << " of a sequence of " << sequence.page_count
                                      << " pages";
    return in.page_tables[size_t(sequence.page_table_begin + page)];
  }

  void reserve(int64_t columns) { weights_.resize(std::max(weights_.size(), size_t(columns))); }

  double* normed(int64_t row, int64_t columns) { return normed_.data() + row * columns; }

  void normalize(const double* x, int64_t columns, const Norm& norm, double* out) {
    const double scale = 1 / std::sqrt(dot(x, x, columns) / double(columns) + double(norm.epsilon));
    const ReferenceMatrix& w = matrix(norm.weight);
    CHECK(w.columns == columns) << "a norm of " << w.columns << " for " << columns;
    w.read_row(0, weights_.data());
    for (int64_t i = 0; i < columns; ++i) out[i] = x[i] * scale * weights_[size_t(i)];
  }

  void normalize_rows(int64_t rows, const Rows& x, const Norm& norm) {
    for (int64_t r = 0; r < rows; ++r) normalize(buffer(x).row(r), x->columns, norm, normed(r, x->columns));
  }

  // Normed rows as an integer packing multiplies them: whole multiples, at most 127, of a scale per row and group, both
  // chosen in F32 like everywhere.
  void quantize_activations(int64_t rows, const ReferenceMatrix& w) {
    if (!is_integer(w.packing)) return;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < w.columns; k += w.format.group)
        quantize_group(normed(r, w.columns), k, std::min<int64_t>(k + w.format.group, w.columns), w.input_order);
  }

  static void quantize_group(double* x, int64_t begin, int64_t end, const std::vector<int32_t>& order) {
    const auto place = [&](int64_t k) -> double& { return x[order.empty() ? k : int64_t(order[size_t(k)])]; };
    float largest = 0;
    for (int64_t k = begin; k < end; ++k) {
      if (!std::isfinite(float(place(k)))) largest = std::numeric_limits<float>::quiet_NaN();
      if (!std::isnan(largest)) largest = std::max(largest, std::abs(float(place(k))));
    }
    const float inverse = largest < 0x1p-120f ? 0 : 127 / largest;
    for (int64_t k = begin; k < end; ++k)
      place(k) = double(std::nearbyint(float(place(k)) * inverse)) * double(largest / 127);
  }

  // out [rows, w.rows] = normed W^T + b
  void project_rows(int64_t rows, const ReferenceMatrix& w, double* out) {
    for (int64_t o = 0; o < w.rows; ++o) {
      w.read_row(o, weights_.data());
      for (int64_t r = 0; r < rows; ++r)
        out[r * w.rows + o] = dot(normed(r, w.columns), weights_.data(), w.columns) + bias(w, o);
    }
  }

  static void rotate(double* head, const RopeTable& rope, int64_t position) {
    CHECK(position >= 0 && position < rope.positions) << "position " << position << " of a table of " << rope.positions;
    for (int64_t i = 0; i < rope.pairs; ++i) {
      const double c = double(rope.cos[size_t(position * rope.pairs + i)]),
                   s = double(rope.sin[size_t(position * rope.pairs + i)]);
      const double a = head[i], b = head[i + rope.pairs];
      head[i] = a * c - b * s;
      head[i + rope.pairs] = b * c + a * s;
    }
  }

  void attend_head(const StepInputs& in, int64_t row, int head, const AttentionSpec& spec, KvLayer kv, const double* q,
                   double* out) {
    ReferenceKv& pages = cache(kv);
    const int64_t last = in.positions[size_t(row)];
    const int64_t first = spec.window > 0 ? std::max<int64_t>(0, last - spec.window + 1) : 0;
    const int kv_head = head / (spec.query_heads / spec.key_value_heads);
    scores_.resize(std::max(scores_.size(), size_t(last - first + 1)));
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t p = first; p <= last; ++p) {
      const float* k = pages.at(kv.layer, 0, page_of(in, row, p), kv_head, p % kPageTokens);
      double score = 0;
      for (int i = 0; i < spec.head_dim; ++i) score += q[i] * double(k[i]);
      scores_[size_t(p - first)] = score * double(spec.scale);
      largest = std::max(largest, scores_[size_t(p - first)]);
    }
    std::fill_n(out, spec.head_dim, 0.0);
    double total = 0;
    for (int64_t p = first; p <= last; ++p) {
      const double share = std::exp(scores_[size_t(p - first)] - largest);
      total += share;
      const float* v = pages.at(kv.layer, 1, page_of(in, row, p), kv_head, p % kPageTokens);
      for (int i = 0; i < spec.head_dim; ++i) out[i] += share * double(v[i]);
    }
    for (int i = 0; i < spec.head_dim; ++i) out[i] /= total;
  }

  std::vector<double> weights_, projected_, normed_, scores_;
  std::vector<float> logits_row_;
  SamplingScratch scratch_;
};

}  // namespace

std::unique_ptr<Machine> make_reference() { return std::make_unique<ReferenceMachine>(); }

}  // namespace updraft::compute
