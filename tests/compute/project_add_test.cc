// project_add: x += in W^T + b.
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

class ProjectAddContract : public Contract {};

TEST_P(ProjectAddContract, EqualsTheReferenceWithinRounding) {
  test::Random random(20);
  for (int round = 0; round < 60; ++round) {
    const int64_t columns = random.integer(1, round % 6 == 0 ? 3000 : 300), outputs = random.integer(1, 150),
                  rows = random.integer(1, 70);
    const Packing packing = random_packing(random);
    const Matrix w = Matrix::random(random, {outputs}, columns, packing, 0.5);
    const FloatRows in_rows = random_rows(random, rows, columns), x_rows = random_rows(random, rows, outputs);
    const StepInputs in = plain_step(rows);
    FloatRows results[2];
    Machine* machines[] = {machine_.get(), reference_.get()};
    for (int m = 0; m < 2; ++m) {
      Machine& machine = *machines[m];
      const Weight weight = w.on(machine);
      const Rows from = write(machine, in_rows, columns), x = write(machine, x_rows, outputs);
      run_step(machine, in, [&] { machine.project_add(in, from, weight, x); });
      results[m] = read(machine, x, rows);
    }
    for (size_t r = 0; r < size_t(rows); ++r) {
      const std::vector<double> from(in_rows[r].begin(), in_rows[r].end());
      for (size_t o = 0; o < size_t(outputs); ++o) {
        const double magnitude = w.magnitude(from, int64_t(o)) + std::abs(double(x_rows[r][o]));
        ASSERT_NEAR(results[0][r][o], results[1][r][o], sum_error(machine_->info(), packing, columns + 2, magnitude))
            << "row " << r << " of " << rows << ", output " << o << " of " << outputs << ", " << columns << " columns, "
            << name(packing);
      }
    }
  }
}

// The reference itself, against loops of the test's own.
TEST_P(ProjectAddContract, EqualsPlainLoops) {
  test::Random random(21);
  const Matrix w = Matrix::random(random, {37}, 53, Packing::kBF16, 1);
  const FloatRows in_rows = random_rows(random, 5, 53), x_rows = random_rows(random, 5, 37);
  const StepInputs in = plain_step(5);
  const Weight weight = w.on(*machine_);
  const Rows from = write(*machine_, in_rows, 53), x = write(*machine_, x_rows, 37);
  run_step(*machine_, in, [&] { machine_->project_add(in, from, weight, x); });
  const FloatRows got = read(*machine_, x, 5);
  for (size_t r = 0; r < 5; ++r) {
    const std::vector<double> row(in_rows[r].begin(), in_rows[r].end());
    for (size_t o = 0; o < 37; ++o) {
      const double want = w.product(row, int64_t(o)) + double(x_rows[r][o]);
      ASSERT_NEAR(
          got[r][o], want,
          sum_error(machine_->info(), w.packing, 55, w.magnitude(row, int64_t(o)) + std::abs(double(x_rows[r][o]))));
    }
  }
}

UPDRAFT_ON_EVERY_MACHINE(ProjectAddContract);

}  // namespace
}  // namespace updraft::compute
