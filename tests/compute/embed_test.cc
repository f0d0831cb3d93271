// embed: a row of the table as stored, exactly.
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

class EmbedContract : public Contract {};

TEST_P(EmbedContract, RowsAreTheTablesValuesExactly) {
  test::Random random(10);
  for (int round = 0; round < 40; ++round) {
    const int64_t vocabulary = random.integer(1, 100), hidden = random.integer(1, 300), rows = random.integer(1, 70);
    const Matrix table = Matrix::random(random, {vocabulary}, hidden, any_packing(random), 0);
    StepInputs in = plain_step(rows);
    for (int32_t& id : in.ids) id = int32_t(random.integer(0, vocabulary - 1));
    const Weight weight = table.on(*machine_);
    const Rows x = machine_->allocate_rows(rows, hidden);
    run_step(*machine_, in, [&] { machine_->embed(in, weight, x); });
    const FloatRows got = read(*machine_, x, rows);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < hidden; ++c)
        ASSERT_EQ(got[size_t(r)][size_t(c)], table.at(in.ids[size_t(r)], c))
            << "row " << r << ", column " << c << " of " << hidden;
  }
}

UPDRAFT_ON_EVERY_MACHINE(EmbedContract);

}  // namespace
}  // namespace updraft::compute
