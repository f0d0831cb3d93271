// The CPU machine's products: against the reference machine over odd shapes, and == between every number of rows,
// thread count and (fused multiply-add) instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "compute/cpu/cpu_machine.h"
#include "tests/compute/emulated_tiles.h"
#include "tests/support/random.h"

namespace updraft::compute {
namespace {

class Values final : public RowSource {
 public:
  Values(int64_t rows, int64_t columns, DType type, uint64_t seed, float scale)
      : RowSource(rows, columns, type), bytes_(size_t(rows * columns * bytes_per_element(type))) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, scale);
    for (int64_t i = 0; i < rows * columns; ++i) {
      const float x = normal(random);
      const uint16_t half = type == DType::kF16 ? to_half(x).bits : to_bfloat16(x).bits;
      if (type == DType::kF32) {
        std::memcpy(bytes_.data() + 4 * i, &x, 4);
      } else {
        std::memcpy(bytes_.data() + 2 * i, &half, 2);
      }
    }
  }
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::memcpy(out, bytes_.data() + begin * row_bytes(), size_t((end - begin) * row_bytes()));
  }

 private:
  std::vector<uint8_t> bytes_;
};

struct Case {
  int64_t rows, columns;
  std::vector<int64_t> parts;
  DType stored;
  Packing packing;
  bool bias;
  uint64_t seed;

  MatrixSource source() const {
    MatrixSource result;
    for (size_t i = 0; i < parts.size(); ++i) {
      MatrixSource::Part part;
      part.weight = std::make_shared<Values>(parts[i], columns, stored, seed + i, 1.0f / std::sqrt(float(columns)));
      if (bias) part.bias = std::make_shared<Values>(1, parts[i], stored, seed + 100 + i, 1.0f);
      result.parts.push_back(part);
    }
    return result;
  }
  int64_t outputs() const {
    int64_t sum = 0;
    for (int64_t part : parts) sum += part;
    return sum;
  }
};

// Everything that products make from one case, row after row.
struct Results {
  std::vector<std::vector<float>> added, gated, logits, embedded;
};

StepInputs step(int64_t rows, int64_t vocabulary) {
  StepInputs in;
  for (int64_t r = 0; r < rows; ++r) {
    in.ids.push_back(int32_t((r * 7 + 3) % vocabulary));
    in.positions.push_back(int32_t(r));
    in.sequences.push_back(0);
    in.rope_tables.push_back(0);
    if (r % 3 != 1) in.output_rows.push_back(int32_t(r));
  }
  in.sequence.push_back({0, int32_t(rows), 0, 0});
  return in;
}

Results compute(Machine& machine, const Case& c, int64_t first_row, int64_t rows) {
  const Weight w = machine.pack(c.source(), c.packing);
  std::vector<float> norm_weight(static_cast<size_t>(c.columns));
  std::mt19937_64 random(c.seed + 7);
  std::normal_distribution<float> normal(0, 1);
  for (float& x : norm_weight) x = 1 + normal(random) / 4;
  const Norm norm{machine.pack_vector(norm_weight), 1e-5f};
  const Rows x = machine.allocate_rows(rows, c.columns), y = machine.allocate_rows(rows, c.outputs());
  const Rows half = machine.allocate_rows(rows, std::max<int64_t>(c.outputs() / 2, 1));
  const Rows embedded = machine.allocate_rows(rows, c.columns), logits = machine.allocate_rows(rows, c.outputs());
  std::vector<float> values(static_cast<size_t>(c.columns)), start(static_cast<size_t>(c.outputs()));
  for (int64_t r = 0; r < first_row + rows; ++r) {
    for (float& v : values) v = normal(random);
    for (float& v : start) v = normal(random);
    if (r < first_row) continue;
    machine.write_row(x, r - first_row, values);
    machine.write_row(y, r - first_row, start);
  }
  const StepInputs in = step(rows, c.outputs());
  const bool gated = c.outputs() % 2 == 0 && (c.parts.size() == 1 || (c.parts.size() == 2 && c.parts[0] == c.parts[1]));
  machine.run({rows, int64_t(in.output_rows.size())}, [&] {
    machine.embed(in, w, embedded);
    machine.project_add(in, x, w, y);
    if (gated) machine.gated_project(in, x, norm, w, half);
    machine.logits(in, x, norm, w, logits);
  });
  EXPECT_TRUE(machine.finish().ok);
  Results results;
  const auto read = [&](const Rows& from, int64_t count, std::vector<std::vector<float>>& to) {
    for (int64_t r = 0; r < count; ++r) {
      to.emplace_back(size_t(from->columns));
      machine.read_row(from, r, to.back());
    }
  };
  read(y, rows, results.added);
  if (gated) read(half, rows, results.gated);
  read(logits, int64_t(in.output_rows.size()), results.logits);
  read(embedded, rows, results.embedded);
  return results;
}

void expect_near(const std::vector<std::vector<float>>& ours, const std::vector<std::vector<float>>& exact,
                 double tolerance) {
  ASSERT_EQ(ours.size(), exact.size());
  double largest = 0, error = 0;
  for (size_t r = 0; r < ours.size(); ++r)
    for (size_t i = 0; i < ours[r].size(); ++i) {
      largest = std::max(largest, std::abs(double(exact[r][i])));
      const double e = std::abs(double(ours[r][i]) - double(exact[r][i]));
      error = std::isnan(e) ? INFINITY : std::max(error, e);
    }
  EXPECT_LE(error, tolerance * largest);
}

void expect_equal(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t r = 0; r < a.size(); ++r)
    ASSERT_EQ(std::memcmp(a[r].data(), b[r].data(), a[r].size() * sizeof(float)), 0) << "row " << r;
}

std::vector<Case> random_cases(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  std::vector<Case> cases;
  for (DType stored : {DType::kF32, DType::kF16, DType::kBF16})
    for (Packing packing : {Packing::kF32, Packing::kF16, Packing::kBF16})
      for (int i = 0; i < 3; ++i) {
        Case c{.rows = std::array{pick(1, 9), pick(10, 40), pick(255, 300)}[size_t(i)],
               .columns = pick(1, i == 1 ? 1200 : 400),
               .parts = {},
               .stored = stored,
               .packing = packing,
               .bias = pick(0, 1) == 1,
               .seed = random()};
        const int64_t rows = pick(1, 150);
        for (int64_t part = 0; part < i + 1; ++part) c.parts.push_back(i == 1 ? rows : pick(1, 150));
        cases.push_back(c);
      }
  return cases;
}

std::unique_ptr<Machine> machine_on(const cpu::InstructionSet& set, int threads, Activations activations) {
  MachineOptions options;
  options.threads = threads;
  options.activations = activations;
  return cpu::make_cpu_on(set, options);
}

TEST(LinearTest, EqualsTheReferenceOnEveryInstructionSet) {
  const uint64_t seed = test::run_seed();
  for (const Case& c : random_cases(seed)) {
    const std::unique_ptr<Machine> reference = make_reference();
    const Results exact = compute(*reference, c, 0, c.rows);
    for (const cpu::InstructionSet& set : test::tested_instruction_sets())
      for (Activations activations : {Activations::kF32, Activations::kBF16x2, Activations::kBF16x3}) {
        if (set.tiles == nullptr && activations != Activations::kF32) continue;
        SCOPED_TRACE(fmt::format("seed {} {} {}: {} rows, {} columns, {} parts of {}, {}", seed, set.name,
                                 int(activations), c.rows, c.columns, c.parts.size(), c.parts[0], name(c.packing)));
        const std::unique_ptr<Machine> machine = machine_on(set, 2, activations);
        const Results ours = compute(*machine, c, 0, c.rows);
        const double tolerance = activations == Activations::kBF16x2 && c.packing == Packing::kBF16 ? 3e-5 : 2e-6;
        expect_near(ours.added, exact.added, tolerance);
        expect_near(ours.gated, exact.gated, tolerance);
        expect_near(ours.logits, exact.logits, tolerance);
        expect_equal(ours.embedded, exact.embedded);
      }
  }
}

TEST(LinearTest, OneRowHasTheSameBitsInEveryBatchAndOnEveryTeam) {
  const uint64_t seed = test::run_seed();
  std::mt19937_64 random(seed);
  for (const Case& c : random_cases(seed))
    for (const cpu::InstructionSet& set : test::tested_instruction_sets())
      for (Activations activations : {Activations::kF32, Activations::kBF16x2, Activations::kBF16x3}) {
        if (set.tiles == nullptr && activations != Activations::kF32) continue;
        SCOPED_TRACE(fmt::format("seed {} {} {}: {} rows, {} columns, {}", seed, set.name, int(activations), c.rows,
                                 c.columns, name(c.packing)));
        const std::unique_ptr<Machine> one = machine_on(set, 1, activations);
        const std::unique_ptr<Machine> three = machine_on(set, 3, activations);
        const Results all = compute(*three, c, 0, c.rows);
        const int64_t first = int64_t(random() % uint64_t(c.rows));
        const int64_t rows = std::min<int64_t>(c.rows - first, 1 + int64_t(random() % 30));
        const Results few = compute(*one, c, first, rows);
        const auto cut = [&](const std::vector<std::vector<float>>& from) {
          return from.empty() ? from
                              : std::vector<std::vector<float>>(from.begin() + first, from.begin() + first + rows);
        };
        expect_equal(few.added, cut(all.added));
        expect_equal(few.gated, cut(all.gated));
        if (first % 3 == 0) {  // output_rows picks the same rows of both
          const std::vector<std::vector<float>> logits(all.logits.begin() + first / 3 * 2,
                                                       all.logits.begin() + first / 3 * 2 + int64_t(few.logits.size()));
          expect_equal(few.logits, logits);
        }
      }
}

TEST(LinearTest, FusedMultiplyAddSetsAgreeBitForBit) {
  const uint64_t seed = test::run_seed();
  for (const Case& c : random_cases(seed)) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::vector<Results> results;
    for (const cpu::InstructionSet& set : test::tested_instruction_sets()) {
      const std::unique_ptr<Machine> machine = machine_on(set, 2, Activations::kF32);
      results.push_back(compute(*machine, c, 0, c.rows));
      expect_equal(results.back().added, results.front().added);
      expect_equal(results.back().gated, results.front().gated);
      expect_equal(results.back().logits, results.front().logits);
    }
  }
}

// From memory or from a cache, asked for ahead or not, side by side or one by one: the same sums.
TEST(LinearTest, HowPanelsAreReadChangesNoBit) {
  test::Random random(410);
  for (const cpu::Kernels* kernels : cpu::available_kernels())
    for (DType type : {DType::kF32, DType::kF16, DType::kBF16})
      for (int tokens = 1; tokens <= kernels->linear.tile_tokens; ++tokens) {
        const int count = int(random.integer(1, 6));
        const int64_t columns = random.integer(1, 700), y_stride = tokens * 32 + 16;
        const Values weights(count, columns * 32, type, uint64_t(random.integer(0, 1 << 20)), 1);
        std::vector<uint8_t> stored(size_t(count * weights.row_bytes()));
        weights.read_rows(0, count, stored.data());
        std::vector<const void*> panels;
        for (int i = 0; i < count; ++i) panels.push_back(stored.data() + i * weights.row_bytes());
        std::vector<float> x(size_t(columns * tokens));
        for (float& v : x) v = random.normal();
        const auto product = [&](bool from_memory, bool ask_ahead) {
          std::vector<float> y(size_t(count * y_stride), 7.0f);
          cpu::StreamProduct p;
          p.panels = panels.data();
          p.count = count;
          p.columns = columns;
          p.x = x.data();
          p.tokens = tokens;
          p.from_memory = from_memory;
          p.ask_ahead = ask_ahead;
          p.y = y.data();
          p.y_stride = y_stride;
          kernels->linear.stream(type, p);
          return y;
        };
        const std::vector<float> cached = product(false, false);
        ASSERT_EQ(product(true, true), cached) << kernels->name << ", " << tokens << " tokens, " << count << " panels";
        ASSERT_EQ(product(true, false), cached) << kernels->name << ", " << tokens << " tokens, " << count << " panels";
      }
}

TEST(LinearTest, RefusesAnUnknownInstructionSetByName) {
  try {
    make_cpu({.threads = 1, .instruction_set = "mmx"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("mmx"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find(cpu::available_instruction_sets().front().name), std::string::npos);
  }
}

}  // namespace
}  // namespace updraft::compute
