// What the contract tests share: every machine of this build that this processor can run, random weights that a packing
// keeps exactly, batches of sequences with pages in random order, and error bounds counted from the number of terms.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "compute/cpu/cpu_machine.h"
#include "compute/machine.h"
#include "tests/compute/emulated_tiles.h"
#include "tests/support/random.h"

namespace updraft::compute {

// One way to make a machine.
struct Candidate {
  std::string label;
  std::string machine;
  MachineOptions options;
  bool emulated_tiles = false;

  std::unique_ptr<Machine> make() const { return make(options.threads); }
  // Throws Error where this processor or this build cannot.
  std::unique_ptr<Machine> make(int threads) const {
    MachineOptions with = options;
    with.threads = threads;
    if (!emulated_tiles) return make_machine(machine, with);
    const std::vector<cpu::InstructionSet> sets = test::emulated_tile_sets();
    if (sets.empty()) fail("tiles are emulated where there is AVX-512 with VNNI, in builds with its kernels");
    return cpu::make_cpu_on(sets.front(), with);
  }
};

inline std::ostream& operator<<(std::ostream& out, const Candidate& c) { return out << c.label; }

inline std::vector<Candidate> candidates() {
  std::vector<Candidate> result;
  for (const std::string& machine : machine_names()) {
    if (machine != "cpu") {
      result.push_back({machine, machine, {}});
      continue;
    }
    for (const char* set : {"avx2", "avx512", "neon"})
      result.push_back({std::string("cpu_") + set, machine, {2, Activations::kF32, set}});
    result.push_back({"cpu_amx_bf16x2", machine, {2, Activations::kBF16x2, "avx512+amx"}});
    result.push_back({"cpu_amx_bf16x3", machine, {2, Activations::kBF16x3, "avx512+amx"}});
    result.push_back({"cpu_amx_exact", machine, {2, Activations::kF32, "avx512+amx"}});
    result.push_back({"cpu_emulated_amx_bf16x2", machine, {2, Activations::kBF16x2, ""}, true});
    result.push_back({"cpu_emulated_amx_bf16x3", machine, {2, Activations::kBF16x3, ""}, true});
  }
  return result;
}

class Contract : public testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    const Candidate& c = GetParam();
    try {
      machine_ = c.make();
    } catch (const Error& error) {
      GTEST_SKIP() << c.label << " is not available here: " << error.what();
    }
    reference_ = make_reference();
  }

  std::unique_ptr<Machine> machine_, reference_;
};

inline std::string candidate_name(const testing::TestParamInfo<Candidate>& candidate) { return candidate.param.label; }

#define UPDRAFT_ON_EVERY_MACHINE(Suite) \
  INSTANTIATE_TEST_SUITE_P(Machines, Suite, testing::ValuesIn(candidates()), candidate_name)

// Rows in memory, stored as one of the three types.
class MemoryRows final : public RowSource {
 public:
  MemoryRows(int64_t rows, int64_t columns, DType dtype, const float* values) : RowSource(rows, columns, dtype) {
    bytes_.resize(size_t(rows * row_bytes()));
    for (int64_t i = 0; i < rows * columns; ++i) {
      const uint16_t half = dtype == DType::kF16 ? to_half(values[i]).bits : to_bfloat16(values[i]).bits;
      if (dtype == DType::kF32)
        std::memcpy(bytes_.data() + 4 * i, values + i, 4);
      else
        std::memcpy(bytes_.data() + 2 * i, &half, 2);
    }
  }

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::memcpy(out, bytes_.data() + begin * row_bytes(), size_t((end - begin) * row_bytes()));
  }

 private:
  std::vector<uint8_t> bytes_;
};

inline DType dtype_of(Packing packing) {
  return packing == Packing::kF32 ? DType::kF32 : packing == Packing::kF16 ? DType::kF16 : DType::kBF16;
}

inline float rounded(DType type, float x) {
  return type == DType::kF32 ? x : type == DType::kF16 ? to_float(to_half(x)) : to_float(to_bfloat16(x));
}

// A random format of an integer packing, and rows rounded to it.
inline QuantizedFormat random_format(test::Random& random, Packing packing) {
  return {packing == Packing::kInt4 ? 4 : 8, random.chance(0.5) ? 32 : 128, Offset(random.integer(0, 2)),
          random.chance(0.7) ? DType::kF16 : DType::kBF16};
}

inline KvType random_kv_type(test::Random& random) { return kKvTypes[random.integer(0, 2)]; }

// A head row as the cache keeps it, from values that F32 holds: see KvType.
inline std::vector<double> kept(KvType type, const std::vector<double>& row) {
  std::vector<double> values;
  float largest = 0;
  for (double x : row) largest = std::max(largest, std::abs(float(x)));
  const float scale = largest / 127, inverse = largest > 0 ? 127 / largest : 0;
  for (double x : row)
    values.push_back(type == KvType::kInt8  ? double(std::nearbyint(float(x) * inverse) * scale)
                     : type == KvType::kF16 ? double(to_float(to_half(float(x))))
                                            : double(float(x)));
  return values;
}

// W [rows, columns] with values that the packing keeps exactly, in parts stacked by row, some with a bias.
struct Matrix {
  int64_t rows = 0, columns = 0;
  Packing packing = Packing::kF32;
  std::vector<float> values;
  std::vector<float> bias;  // [rows], zero for a part without
  MatrixSource source;

  float at(int64_t r, int64_t c) const { return values[size_t(r * columns + c)]; }
  Weight on(Machine& machine) const { return machine.pack(source, packing); }

  // `value(row, column)`; parts as row counts; a part has a bias where chance says so.
  template <class Value>
  static Matrix make(test::Random& random, std::vector<int64_t> parts, int64_t columns, Packing packing,
                     double bias_chance, Value value) {
    Matrix m;
    m.rows = std::accumulate(parts.begin(), parts.end(), int64_t(0));
    m.columns = columns;
    m.packing = packing;
    const DType type = is_integer(packing) ? DType::kF32 : dtype_of(packing);
    const QuantizedFormat format = random_format(random, packing);
    for (int64_t r = 0; r < m.rows; ++r)
      for (int64_t c = 0; c < columns; ++c) m.values.push_back(rounded(type, value(r, c)));
    m.bias.assign(size_t(m.rows), 0.0f);
    int64_t first = 0;
    for (int64_t count : parts) {
      MatrixSource::Part part{std::make_shared<MemoryRows>(count, columns, type, m.values.data() + first * columns),
                              nullptr};
      if (is_integer(packing)) {
        part.weight = quantize(part.weight, format);
        part.weight->read_rows(0, count, m.values.data() + first * columns);
      }
      if (random.chance(bias_chance)) {
        for (int64_t i = 0; i < count; ++i) m.bias[size_t(first + i)] = random.normal();
        part.bias = std::make_shared<MemoryRows>(1, count, DType::kF32, m.bias.data() + first);
      }
      m.source.parts.push_back(std::move(part));
      first += count;
    }
    return m;
  }

  static Matrix random(test::Random& random, std::vector<int64_t> parts, int64_t columns, Packing packing,
                       double bias_chance) {
    const float scale = 1 / std::sqrt(float(columns));
    return make(random, std::move(parts), columns, packing, bias_chance,
                [&](int64_t, int64_t) { return random.normal() * scale; });
  }

  // sum_c |x_c W_rc| + |b_r|: what the rounding errors of one output are measured by.
  double magnitude(std::span<const double> x, int64_t r) const {
    double sum = std::abs(double(bias[size_t(r)]));
    for (int64_t c = 0; c < columns; ++c) sum += std::abs(x[size_t(c)] * double(at(r, c)));
    return sum;
  }

  double product(std::span<const double> x, int64_t r) const {
    double sum = double(bias[size_t(r)]);
    for (int64_t c = 0; c < columns; ++c) sum += x[size_t(c)] * double(at(r, c));
    return sum;
  }
};

constexpr double kUnit = 0x1p-24;  // half an ulp of F32 at 1

// Relative error of an activation on its way into a product with BF16 weights: two bf16 terms hold 16 bits, three
// all 24.
inline double activation_error(const MachineInfo& info, Packing packing) {
  if (packing != Packing::kBF16) return 0;
  if (info.activations == "bf16x2") return 0x1p-16;
  return info.activations == "bf16x3" ? 0x1p-23 : 0;
}

// Bound of |computed - exact| for a sum of `terms` products whose magnitudes sum to `magnitude`: one rounding a term.
inline double sum_error(const MachineInfo& info, Packing packing, int64_t terms, double magnitude) {
  return (double(terms + 8) * kUnit + activation_error(info, packing)) * magnitude;
}

// Relative error of an RMS-normed element: a sum of n squares in 16 parts, a root, a division, two products.
inline double norm_error(int64_t n) { return double(n / 16 + 16) * kUnit; }

struct RandomNorm {
  std::vector<float> weight;
  float epsilon;

  RandomNorm(test::Random& random, int64_t n) : epsilon(random.chance(0.5) ? 1e-5f : 0.05f) {
    for (int64_t i = 0; i < n; ++i) weight.push_back(1 + random.normal() * 0.2f);
  }
  Norm on(Machine& machine) const { return {machine.pack_vector(weight), epsilon}; }
  std::vector<double> operator()(std::span<const float> x) const {
    double squares = 0;
    for (float v : x) squares += double(v) * double(v);
    const double scale = 1 / std::sqrt(squares / double(x.size()) + double(epsilon));
    std::vector<double> out;
    for (size_t i = 0; i < x.size(); ++i) out.push_back(double(x[i]) * scale * double(weight[i]));
    return out;
  }
};

using FloatRows = std::vector<std::vector<float>>;

inline FloatRows random_rows(test::Random& random, int64_t rows, int64_t columns) {
  FloatRows result;
  for (int64_t r = 0; r < rows; ++r) {
    const float scale = float(std::exp2(double(random.integer(-3, 3))));
    auto& row = result.emplace_back();
    for (int64_t c = 0; c < columns; ++c) row.push_back(random.normal() * scale);
  }
  return result;
}

inline Rows write(Machine& machine, const FloatRows& values, int64_t columns, int64_t spare = 0) {
  const Rows rows = machine.allocate_rows(int64_t(values.size()) + spare, columns);
  for (size_t r = 0; r < values.size(); ++r) machine.write_row(rows, int64_t(r), values[r]);
  return rows;
}

inline FloatRows read(const Machine& machine, const Rows& rows, int64_t count) {
  FloatRows result(static_cast<size_t>(count), std::vector<float>(static_cast<size_t>(rows->columns)));
  for (int64_t r = 0; r < count; ++r) machine.read_row(rows, r, result[size_t(r)]);
  return result;
}

// Rows [begin, begin + rows) of one sequence, with its pages.
struct Span {
  int64_t begin = 0, rows = 0;
  std::vector<int32_t> pages;
};

// Distinct pages of [0, pool) in random order.
inline std::vector<int32_t> shuffled_pages(test::Random& random, int64_t pool) {
  std::vector<int32_t> pages(static_cast<size_t>(pool));
  std::iota(pages.begin(), pages.end(), 0);
  for (size_t i = pages.size(); i > 1; --i) std::swap(pages[i - 1], pages[size_t(random.integer(0, int64_t(i) - 1))]);
  return pages;
}

inline int64_t pages_for(int64_t tokens, int64_t page_tokens) { return (tokens + page_tokens - 1) / page_tokens; }

inline StepInputs step_of(const std::vector<Span>& spans) {
  StepInputs in;
  for (size_t s = 0; s < spans.size(); ++s) {
    const Span& span = spans[s];
    in.sequence.push_back(
        {int32_t(in.rows()), int32_t(span.rows), int32_t(in.page_tables.size()), int32_t(span.pages.size())});
    for (int64_t i = 0; i < span.rows; ++i) {
      in.ids.push_back(0);
      in.positions.push_back(int32_t(span.begin + i));
      in.sequences.push_back(int32_t(s));
      in.rope_tables.push_back(0);
    }
    in.page_tables.insert(in.page_tables.end(), span.pages.begin(), span.pages.end());
  }
  return in;
}

// `rows` rows that use no pages: for verbs that look at ids and counts alone.
inline StepInputs plain_step(int64_t rows) { return step_of({{0, rows, {}}}); }

template <class Body>
void run_step(Machine& machine, const StepInputs& in, Body body) {
  machine.run({in.rows(), int64_t(in.output_rows.size())}, body);
  ASSERT_TRUE(machine.finish().ok);
}

// The packings whose activations are (nearly) exact.
inline Packing random_packing(test::Random& random) {
  return std::vector<Packing>{Packing::kF32, Packing::kF16, Packing::kBF16}[size_t(random.integer(0, 2))];
}

inline Packing any_packing(test::Random& random) {
  return random.chance(0.5) ? random_packing(random) : random.chance(0.5) ? Packing::kInt8 : Packing::kInt4;
}

}  // namespace updraft::compute
