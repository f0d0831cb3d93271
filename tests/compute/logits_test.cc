// logits: out[i] = norm(x[output_rows[i]]) W^T.
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

class LogitsContract : public Contract {};

TEST_P(LogitsContract, OnlyTheAskedRowsAndEqualToTheReference) {
  test::Random random(40);
  for (int round = 0; round < 40; ++round) {
    const int64_t hidden = random.integer(1, 300), vocabulary = random.integer(1, 300), rows = random.integer(1, 70);
    const Packing packing = random_packing(random);
    const Matrix w = Matrix::random(random, {vocabulary}, hidden, packing, 0);
    const RandomNorm norm(random, hidden);
    const FloatRows x_rows = random_rows(random, rows, hidden);
    StepInputs in = plain_step(rows);
    for (int64_t r = 0; r < rows; ++r)
      if (random.chance(0.4) || r + 1 == rows) in.output_rows.push_back(int32_t(r));
    const int64_t outputs = int64_t(in.output_rows.size());
    FloatRows results[2];
    Machine* machines[] = {machine_.get(), reference_.get()};
    for (int m = 0; m < 2; ++m) {
      Machine& machine = *machines[m];
      const Weight weight = w.on(machine);
      const Norm packed = norm.on(machine);
      const Rows x = write(machine, x_rows, hidden), out = machine.allocate_rows(outputs, vocabulary);
      run_step(machine, in, [&] { machine.logits(in, x, packed, weight, out); });
      results[m] = read(machine, out, outputs);
      ASSERT_EQ(read(machine, x, rows), x_rows) << "x must stay as it was";
    }
    for (size_t i = 0; i < size_t(outputs); ++i) {
      const std::vector<double> normed = norm(x_rows[size_t(in.output_rows[i])]);
      for (size_t o = 0; o < size_t(vocabulary); ++o) {
        const double magnitude = w.magnitude(normed, int64_t(o));
        const double bound = sum_error(machine_->info(), packing, hidden, magnitude) + norm_error(hidden) * magnitude;
        ASSERT_NEAR(results[0][i][o], results[1][i][o], bound)
            << "output row " << i << " of " << outputs << ", id " << o << " of " << vocabulary << ", hidden " << hidden
            << ", " << name(packing);
        ASSERT_NEAR(results[1][i][o], w.product(normed, int64_t(o)), 2 * kUnit * magnitude) << "the reference itself";
      }
    }
  }
}

UPDRAFT_ON_EVERY_MACHINE(LogitsContract);

}  // namespace
}  // namespace updraft::compute
