// gated_project: hidden = silu(g) * u with g|u = norm(x) W^T + b.
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

class GatedProjectContract : public Contract {};

TEST_P(GatedProjectContract, EqualsTheReferenceWithinRounding) {
  test::Random random(30);
  for (int round = 0; round < 50; ++round) {
    const int64_t hidden = random.integer(1, 300), intermediate = random.integer(1, 130), rows = random.integer(1, 70);
    const Packing packing = random_packing(random);
    Matrix w = Matrix::random(random, {intermediate, intermediate}, hidden, packing, 0.4);
    const RandomNorm norm(random, hidden);
    const FloatRows x_rows = random_rows(random, rows, hidden);
    const StepInputs in = plain_step(rows);
    FloatRows results[2];
    Machine* machines[] = {machine_.get(), reference_.get()};
    for (int m = 0; m < 2; ++m) {
      Machine& machine = *machines[m];
      const Weight weight = w.on(machine);
      const Norm packed = norm.on(machine);
      const Rows x = write(machine, x_rows, hidden), out = machine.allocate_rows(rows, intermediate);
      run_step(machine, in, [&] { machine.gated_project(in, x, packed, weight, out); });
      results[m] = read(machine, out, rows);
      ASSERT_EQ(read(machine, x, rows), x_rows) << "x must stay as it was";
    }
    for (size_t r = 0; r < size_t(rows); ++r) {
      const std::vector<double> normed = norm(x_rows[r]);
      for (size_t o = 0; o < size_t(intermediate); ++o) {
        const auto error = [&](int64_t row) {
          const double magnitude = w.magnitude(normed, row);
          return sum_error(machine_->info(), packing, hidden + 1, magnitude) + norm_error(hidden) * magnitude;
        };
        const double gate = w.product(normed, int64_t(o)), up = w.product(normed, intermediate + int64_t(o));
        const double silu = gate / (1 + std::exp(-gate));
        // |silu'| <= 1.1; exp, the division and two products: 16 roundings
        const double bound =
            1.1 * error(int64_t(o)) * std::abs(up) + std::abs(silu) * error(intermediate + int64_t(o)) +
            1.1 * error(int64_t(o)) * error(intermediate + int64_t(o)) + 16 * kUnit * std::abs(silu * up);
        ASSERT_NEAR(results[0][r][o], results[1][r][o], bound + 1e-37)
            << "row " << r << " of " << rows << ", output " << o << " of " << intermediate << ", hidden " << hidden
            << ", " << name(packing);
        ASSERT_NEAR(results[1][r][o], silu * up, 2 * kUnit * std::abs(silu * up) + 1e-12) << "the reference itself";
      }
    }
  }
}

// silu far from zero: no overflow of exp, the limits are 0 and the gate itself.
TEST_P(GatedProjectContract, SiluOfHugeGatesHasItsLimits) {
  for (const float gate : {-1e30f, -200.0f, -100.0f, -88.0f, 88.0f, 200.0f, 1e30f}) {
    test::Random random(31);
    const Matrix w =
        Matrix::make(random, {1, 1}, 1, Packing::kF32, 0, [&](int64_t row, int64_t) { return row == 0 ? gate : 1.0f; });
    const std::vector<float> one = {1.0f};
    const Norm norm{machine_->pack_vector(one), 0.0f};
    const Weight weight = w.on(*machine_);
    const StepInputs in = plain_step(1);
    const Rows x = write(*machine_, {{1.0f}}, 1), out = machine_->allocate_rows(1, 1);
    run_step(*machine_, in, [&] { machine_->gated_project(in, x, norm, weight, out); });
    const float got = read(*machine_, out, 1)[0][0];
    if (gate < 0) {
      EXPECT_NEAR(got, double(gate) * std::exp(double(gate)), 1e-35) << gate;
    } else {
      EXPECT_FLOAT_EQ(got, gate);
    }
  }
}

UPDRAFT_ON_EVERY_MACHINE(GatedProjectContract);

}  // namespace
}  // namespace updraft::compute
