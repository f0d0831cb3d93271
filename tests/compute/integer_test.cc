// Integer packings: every instruction set's kernels against the plain loops that define them (==), the CPU machine
// against the reference machine with the same quantized activations, one row's bits in every batch, and what was packed
// read back.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "compute/cpu/instruction_set.h"
#include "compute/cpu/integer_packing.h"
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

constexpr int64_t kNeverStriped = std::numeric_limits<int64_t>::max();

// What this processor can run, and AMX's kernels wherever their tiles can be emulated.
std::vector<const cpu::IntegerKernels*> all_integer_kernels() {
  std::vector<const cpu::IntegerKernels*> tables = cpu::available_integer_kernels();
  for (const cpu::InstructionSet& set : test::emulated_tile_sets()) tables.push_back(set.integers);
  return tables;
}

std::vector<QuantizedFormat> all_formats() {
  std::vector<QuantizedFormat> formats;
  for (int bits : {4, 8})
    for (int group : {32, 64, 128})
      for (Offset offset : {Offset::kNone, Offset::kMinimum, Offset::kPoint})
        for (DType type : {DType::kF16, DType::kBF16}) formats.push_back({bits, group, offset, type});
  return formats;
}

// Anything that a file may hold: integers of the whole range, scales of both signs, perhaps in another order.
class RandomIntegers final : public QuantizedRowSource {
 public:
  RandomIntegers(test::Random& random, int64_t rows, int64_t columns, const QuantizedFormat& format, bool reordered)
      : QuantizedRowSource(rows, columns, format) {
    const int64_t groups = format.groups(columns);
    for (int64_t i = 0; i < rows * columns; ++i) integers_.push_back(uint8_t(random.integer(0, format.largest())));
    const auto bits = [&](float x) { return format.scale_type == DType::kF16 ? to_half(x).bits : to_bfloat16(x).bits; };
    for (int64_t i = 0; i < rows * groups; ++i) {
      scales_.push_back(bits(random.normal() / float(format.largest())));
      offsets_.push_back(
          bits(format.offset == Offset::kPoint ? float(random.integer(0, format.largest() + 1)) : random.normal()));
    }
    for (int64_t k = 0; k < columns && reordered; ++k) order_.push_back(int32_t(k));
    for (size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[size_t(random.integer(0, int64_t(i) - 1))]);
  }

  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    const int64_t groups = format().groups(columns());
    std::copy_n(integers_.begin() + begin * columns(), (end - begin) * columns(), out.integers);
    std::copy_n(scales_.begin() + begin * groups, (end - begin) * groups, out.scales);
    if (format().offset != Offset::kNone)
      std::copy_n(offsets_.begin() + begin * groups, (end - begin) * groups, out.offsets);
  }
  std::span<const int32_t> input_order() const override { return order_; }

 private:
  std::vector<uint8_t> integers_;
  std::vector<uint16_t> scales_, offsets_;
  std::vector<int32_t> order_;
};

// One panel with activations of `tokens` rows, multiplied by one table, some groups at a time; weights are asked for
// `ahead` bytes ahead, 0: not.
struct Panel {
  cpu::IntegerLayout layout;
  std::shared_ptr<cpu::IntegerMatrix> matrix;
  std::vector<std::vector<float>> x;

  std::vector<float> product(const cpu::IntegerKernels& kernels, int64_t groups_at_once, int64_t ahead) const {
    const int64_t tokens = int64_t(x.size()), stride = tokens + 32, groups = layout.groups();
    std::vector<int8_t> integers(size_t(groups * stride * layout.format.group));
    std::vector<float> scales(size_t(groups * stride)), y(size_t(stride * 32), 7.0f);
    std::vector<int32_t> sums(scales.size());
    const cpu::IntegerActivations a{integers.data(), scales.data(), sums.data(), stride, layout.format.group};
    for (int64_t t = 0; t < tokens; ++t) kernels.quantize_row(x[size_t(t)].data(), layout.columns, a.at(0, t));
    if (kernels.configure != nullptr) kernels.configure(layout.format);
    const int64_t at_once = tokens <= kernels.stream_tokens ? tokens : kernels.tile_tokens;
    for (int64_t t = 0; t < tokens; t += at_once)
      for (int64_t g = 0; g < groups; g += groups_at_once) {
        cpu::IntegerProduct p;
        p.format = layout.format;
        p.strides = matrix->strides;
        p.headers = matrix->headers_at(0), p.weights = matrix->weights_at(0);
        p.first_group = g;
        p.groups = std::min(groups_at_once, groups - g);
        p.last_columns = layout.padded_columns(g + p.groups - 1);
        p.a = a.at(g, t);
        p.tokens = int(std::min(at_once, tokens - t));
        p.first = g == 0;
        p.y = y.data() + t * 32;
        p.from_memory = ahead > 0;
        p.near_bytes = ahead;
        p.far_bytes = 8 * ahead;
        kernels.multiply(p);
      }
    if (kernels.release != nullptr) kernels.release();
    y.resize(size_t(tokens * 32));
    return y;
  }
};

// Activations as hard as they come: ties between integers, zeros, huge and tiny rows, now and then no number at all.
std::vector<float> hard_row(test::Random& random, int64_t columns) {
  std::vector<float> row(static_cast<size_t>(columns));
  const float scale = float(std::exp2(double(random.integer(-20, 20))));
  const int kind = int(random.integer(0, 9));
  for (float& x : row) {
    x = random.normal() * scale;
    if (kind == 0) x = float(random.integer(-254, 254)) / 2 * scale;  // ties
    if (kind == 1) x = 0;
    if (kind == 2) x *= 0x1p-110f;
  }
  if (kind == 0) row[0] = 127 * scale;
  if (kind == 3) row[size_t(random.integer(0, columns - 1))] = random.chance(0.5) ? INFINITY : NAN;
  return row;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i])) && std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return false;
  return a.size() == b.size();
}

TEST(IntegerKernelTest, EveryInstructionSetGivesTheBitsOfThePlainLoops) {
  test::Random random(300);
  ThreadTeam team(1);
  cpu::HugeArena arena;
  const auto tables = all_integer_kernels();
  for (const QuantizedFormat& format : all_formats())
    for (int round = 0; round < 4; ++round) {
      Panel panel;
      const int64_t columns = round == 1 ? random.integer(1000, 2200) : random.integer(1, round == 0 ? 100 : 900);
      const auto source = std::make_shared<RandomIntegers>(random, 31, columns, format, false);
      panel.matrix = cpu::pack_integers({{{source, nullptr}}}, round % 2 == 0 ? 0 : kNeverStriped,
                                        *cpu::available_kernels().front(), arena, team);
      panel.layout = panel.matrix->layout;
      for (int64_t t = random.integer(1, 40); t > 0; --t) panel.x.push_back(hard_row(random, columns));
      const std::vector<float> defined = panel.product(*tables.front(), panel.layout.groups(), 0);
      for (const cpu::IntegerKernels* table : tables)
        for (int64_t at_once : {panel.layout.groups(), int64_t(1), int64_t(3)})
          for (int64_t ahead : {0, 2048})
            ASSERT_TRUE(same_bits(panel.product(*table, at_once, ahead), defined))
                << table->name << ", " << name(format) << ", " << columns << " columns, " << panel.x.size()
                << " tokens, " << at_once << " groups at once, asked for " << ahead << " bytes ahead";
    }
}

TEST(IntegerLayoutTest, EveryHeaderAndPairHasAPlaceOfItsOwn) {
  test::Random random(307);
  for (const QuantizedFormat& format : all_formats())
    for (bool striped : {false, true}) {
      const cpu::IntegerLayout layout{format, random.integer(1, 700), random.integer(1, 12), striped};
      const cpu::IntegerStrides strides = layout.strides();
      std::vector<bool> taken(size_t(layout.matrix_bytes()), false);
      const auto take = [&](int64_t begin, int64_t bytes) {
        ASSERT_GE(begin, 0);
        ASSERT_LE(begin + bytes, layout.matrix_bytes());
        for (int64_t i = begin; i < begin + bytes; ++i) {
          ASSERT_FALSE(taken[size_t(i)]) << "byte " << i;
          taken[size_t(i)] = true;
        }
      };
      for (int64_t panel = 0; panel < layout.panels; ++panel)
        for (int64_t g = 0; g < layout.groups(); ++g) {
          take(layout.headers_at(panel) + g * strides.header, layout.header_bytes());
          for (int64_t pair = 0; pair < layout.pairs(layout.padded_columns(g)); ++pair)
            take(layout.weights_at(panel) + strides.group_at(g) + strides.pair_at(pair), 128);
          if (HasFatalFailure()) FAIL() << name(format) << ", striped " << striped << ", panel " << panel;
        }
    }
}

TEST(IntegerKernelTest, QuantizedActivationsAreWithinHalfAStepAndTheirSumIsExact) {
  test::Random random(301);
  for (const cpu::IntegerKernels* table : cpu::available_integer_kernels())
    for (int round = 0; round < 200; ++round) {
      const int64_t columns = random.integer(1, 400), groups = (columns + 127) / 128;
      const std::vector<float> x = random_rows(random, 1, columns)[0];
      std::vector<int8_t> q(size_t(groups * 128), 99);
      std::vector<float> scales(static_cast<size_t>(groups));
      std::vector<int32_t> sums(static_cast<size_t>(groups));
      table->quantize_row(x.data(), columns, {q.data(), scales.data(), sums.data(), 1, 128});
      for (int64_t g = 0; g < groups; ++g) {
        int32_t sum = 0;
        for (int64_t k = g * 128; k < (g + 1) * 128; ++k) {
          sum += q[size_t(k)];
          ASSERT_GE(q[size_t(k)], -127);
          const float value = k < columns ? x[size_t(k)] : 0;
          ASSERT_NEAR(float(q[size_t(k)]) * scales[size_t(g)], value, 0.5001f * scales[size_t(g)]) << table->name;
        }
        ASSERT_EQ(sum, sums[size_t(g)]) << table->name;
      }
    }
}

// Rounding while packing is the loop of base, faster.
TEST(IntegerKernelTest, WeightsAreRoundedAsBaseRoundsThem) {
  test::Random random(306);
  for (const cpu::Kernels* table : cpu::available_kernels())
    for (const QuantizedFormat& format : all_formats())
      for (int round = 0; round < 20; ++round) {
        const int64_t columns = random.integer(1, 400), groups = format.groups(columns);
        const DType type = std::array{DType::kF32, DType::kF16, DType::kBF16}[size_t(random.integer(0, 2))];
        std::vector<float> x = hard_row(random, columns);
        std::vector<uint8_t> stored(x.size() * size_t(bytes_per_element(type)));
        table->linear.convert(DType::kF32, x.data(), type, stored.data(), columns);
        table->linear.convert(type, stored.data(), DType::kF32, x.data(), columns);
        std::vector<uint8_t> integers[2];
        std::vector<uint16_t> scales[2], offsets[2];
        for (int i = 0; i < 2; ++i) {
          integers[i].resize(size_t(columns));
          scales[i].resize(size_t(groups));
          offsets[i].resize(size_t(groups));
          if (i == 0) {
            quantize_row(x.data(), columns, format, integers[i].data(), scales[i].data(), offsets[i].data());
          } else {
            table->quantize_weights(type, stored.data(), columns, format, integers[i].data(), scales[i].data(),
                                    offsets[i].data());
          }
        }
        ASSERT_EQ(integers[1], integers[0]) << table->name << ", " << name(format) << ", " << columns << " columns";
        ASSERT_EQ(scales[1], scales[0]) << table->name << ", " << name(format);
        ASSERT_EQ(offsets[1], offsets[0]) << table->name << ", " << name(format);
      }
}

struct Product {
  int64_t columns = 0;
  MatrixSource source;
  std::vector<float> values;  // [rows, columns] dequantized
  QuantizedFormat format;

  int64_t rows() const { return source.rows(); }
  // The largest |w| of a row: an activation that falls to the other of two integers moves the sum by a step of it.
  double largest(int64_t row) const {
    double most = 0;
    for (int64_t k = 0; k < columns; ++k) most = std::max(most, std::abs(double(values[size_t(row * columns + k)])));
    return most;
  }
};

Product random_product(test::Random& random, const QuantizedFormat& format, std::vector<int64_t> parts, int64_t columns,
                       bool reordered) {
  Product p;
  p.columns = columns;
  p.format = format;
  for (int64_t rows : parts) {
    MatrixSource::Part part{
        std::make_shared<RandomIntegers>(random, rows, columns, format, reordered && parts.size() == 1), nullptr};
    std::vector<float> values(size_t(rows * columns)), bias(static_cast<size_t>(rows));
    part.weight->read_rows(0, rows, values.data());
    p.values.insert(p.values.end(), values.begin(), values.end());
    for (float& b : bias) b = random.normal();
    if (random.chance(0.5)) part.bias = std::make_shared<MemoryRows>(1, rows, DType::kF32, bias.data());
    p.source.parts.push_back(std::move(part));
  }
  return p;
}

class IntegerContract : public Contract {};

// In F32 a group's sum is scaled with two roundings and added with one (two more with offsets), relative to terms whose
// size is bounded by |x| times the integers' reach.
double rounding(const Product& p, const std::vector<float>& x, int64_t row) {
  double size = 0;
  for (float v : x) size += std::abs(double(v));
  const double reach = 2 * p.largest(row) + 8;
  return double(8 * p.format.groups(p.columns) + 16) * kUnit * size * reach;
}

TEST_P(IntegerContract, ProductsEqualTheReferenceWithTheSameActivations) {
  test::Random random(302);
  for (const QuantizedFormat& format : all_formats()) {
    const int64_t columns = random.chance(0.3) ? 576 : random.integer(1, 700), rows = random.integer(1, 40);
    const Product p = random_product(random, format, {random.integer(1, 140)}, columns, random.chance(0.5));
    const FloatRows in_rows = random_rows(random, rows, columns), x_rows = random_rows(random, rows, p.rows());
    const StepInputs in = plain_step(rows);
    FloatRows results[2];
    Machine* machines[] = {machine_.get(), reference_.get()};
    for (int m = 0; m < 2; ++m) {
      Machine& machine = *machines[m];
      const Weight w = machine.pack(p.source, packing_of(format));
      const Rows from = write(machine, in_rows, columns), x = write(machine, x_rows, p.rows());
      run_step(machine, in, [&] { machine.project_add(in, from, w, x); });
      results[m] = read(machine, x, rows);
    }
    for (size_t r = 0; r < size_t(rows); ++r)
      for (size_t o = 0; o < size_t(p.rows()); ++o)
        ASSERT_NEAR(results[0][r][o], results[1][r][o],
                    rounding(p, in_rows[r], int64_t(o)) + 4 * kUnit * std::abs(double(x_rows[r][o])))
            << name(format) << ", " << columns << " columns, row " << r << ", output " << o;
  }
}

// Behind a norm the machines' activations differ in their last bits, so that a few may round to the other integer.
TEST_P(IntegerContract, NormedProductsEqualTheReferenceButForFewActivations) {
  test::Random random(303);
  for (const QuantizedFormat& format : all_formats()) {
    const int64_t columns = random.integer(1, 700), rows = random.integer(1, 20), half = random.integer(1, 70);
    const Product p = random_product(random, format, {half, half}, columns, false);
    const FloatRows x_rows = random_rows(random, rows, columns);
    const RandomNorm norm(random, columns);
    StepInputs in = plain_step(rows);
    for (int32_t r = 0; r < rows; r += 2) in.output_rows.push_back(r);
    FloatRows results[2];
    Machine* machines[] = {machine_.get(), reference_.get()};
    for (int m = 0; m < 2; ++m) {
      Machine& machine = *machines[m];
      const Weight w = machine.pack(p.source, packing_of(format));
      const Norm packed = norm.on(machine);
      const Rows x = write(machine, x_rows, columns), hidden = machine.allocate_rows(rows, half),
                 logits = machine.allocate_rows(rows, 2 * half);
      run_step(machine, in, [&] {
        machine.gated_project(in, x, packed, w, hidden);
        machine.logits(in, x, packed, w, logits);
      });
      results[m] = read(machine, logits, int64_t(in.output_rows.size()));
      for (const auto& row : read(machine, hidden, rows))
        for (float v : row) ASSERT_TRUE(std::isfinite(v));
    }
    for (size_t i = 0; i < in.output_rows.size(); ++i) {
      const std::vector<double> exact = norm(x_rows[size_t(in.output_rows[i])]);
      const std::vector<float> normed(exact.begin(), exact.end());
      double largest = 0;
      for (float v : normed) largest = std::max(largest, std::abs(double(v)));
      for (size_t o = 0; o < size_t(2 * half); ++o)
        ASSERT_NEAR(results[0][i][o], results[1][i][o],
                    2 * rounding(p, normed, int64_t(o)) + norm_error(columns) * 700 * largest * p.largest(int64_t(o)) +
                        3 * largest / 127 * p.largest(int64_t(o)))
            << name(format) << ", " << columns << " columns, output " << o;
    }
  }
}

TEST_P(IntegerContract, OneRowHasTheSameBitsInEveryBatchAndOnEveryTeam) {
  test::Random random(304);
  for (const QuantizedFormat& format : all_formats()) {
    const int64_t columns = random.chance(0.3) ? 576 : random.integer(1, 700);
    const int64_t rows = GetParam().machine == "reference" ? 5 : random.integer(1, 300);
    const Product p = random_product(random, format, {33, 33}, columns, false);
    const FloatRows x_rows = random_rows(random, rows, columns);
    const RandomNorm norm(random, columns);
    const auto all = [&](Machine& machine, int64_t first, int64_t count) {
      const FloatRows mine(x_rows.begin() + first, x_rows.begin() + first + count);
      const Weight w = machine.pack(p.source, packing_of(format));
      const Norm packed = norm.on(machine);
      const StepInputs in = plain_step(count);
      const Rows x = write(machine, mine, columns),
                 y = write(machine, FloatRows(size_t(count), std::vector<float>(66)), 66),
                 hidden = machine.allocate_rows(count, 33);
      run_step(machine, in, [&] {
        machine.project_add(in, x, w, y);
        machine.gated_project(in, x, packed, w, hidden);
      });
      FloatRows result = read(machine, y, count);
      for (const auto& row : read(machine, hidden, count)) result.push_back(row);
      return result;
    };
    const FloatRows together = all(*machine_, 0, rows);
    const std::unique_ptr<Machine> other = GetParam().make(3);
    const int64_t first = random.integer(0, rows - 1), count = random.integer(1, std::min<int64_t>(rows - first, 20));
    const FloatRows few = all(*other, first, count);
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_EQ(few[size_t(i)], together[size_t(first + i)]) << name(format) << ", " << rows << " rows, row " << i;
      ASSERT_EQ(few[size_t(count + i)], together[size_t(rows + first + i)]) << name(format) << ", gated, row " << i;
    }
  }
}

// What bounds a step is measured by whoever has memory of its own to read.
TEST_P(IntegerContract, PackedWeightsAreReadPlainly) {
  test::Random random(308);
  const Product p = random_product(random, {8, 128}, {2000}, 1000, false);
  const std::vector<Weight> weights(3, machine_->pack(p.source, Packing::kInt8));
  Tuning one_thread;
  one_thread.decode_threads = 1;
  machine_->tune(one_thread);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(machine_->read_plainly(weights) > 0, machine_->info().name == "cpu");
}

TEST_P(IntegerContract, WhatWasPackedReadsBackAsDequantized) {
  test::Random random(305);
  for (const QuantizedFormat& format : all_formats()) {
    const int64_t columns = random.integer(1, 400), rows = random.integer(1, 100);
    const Product p = random_product(random, format, {rows}, columns, random.chance(0.5));
    const Weight w = machine_->pack(p.source, packing_of(format));
    EXPECT_EQ(w->packing, format.bits == 4 ? Packing::kInt4 : Packing::kInt8);
    EXPECT_EQ(w->format, format);
    StepInputs in = plain_step(rows);
    std::iota(in.ids.begin(), in.ids.end(), 0);
    const Rows x = machine_->allocate_rows(rows, columns);
    run_step(*machine_, in, [&] { machine_->embed(in, w, x); });
    const FloatRows got = read(*machine_, x, rows);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < columns; ++k)
        ASSERT_EQ(got[size_t(r)][size_t(k)], p.values[size_t(r * columns + k)]) << name(format) << ", row " << r;
  }
}

UPDRAFT_ON_EVERY_MACHINE(IntegerContract);

}  // namespace
}  // namespace updraft::compute
