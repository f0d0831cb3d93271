// sample: what choose() says of every output row.
#include "compute/sampling.h"
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

class SampleContract : public Contract {};

TEST_P(SampleContract, EqualsChooseOnEveryRow) {
  test::Random random(50);
  for (int round = 0; round < 20; ++round) {
    const int64_t rows = random.integer(1, 20), vocabulary = random.integer(1, 400);
    const FloatRows values = random_rows(random, rows, vocabulary);
    std::vector<uint64_t> mask(size_t(vocabulary + 63) / 64);
    for (uint64_t& word : mask) word = random.next() | 1;
    const std::vector<SampleRules::Bias> biases = {{int32_t(random.integer(0, vocabulary - 1)), 2.5f}};
    StepInputs in = plain_step(rows);
    for (int64_t r = 0; r < rows; ++r) {
      in.output_rows.push_back(int32_t(r));
      SampleRules rules;
      rules.temperature = random.chance(0.5) ? 0 : float(0.5 + random.real());
      rules.top_k = random.chance(0.5) ? 0 : int32_t(random.integer(1, 50));
      rules.top_p = random.chance(0.5) ? 1 : 0.8f;
      rules.seed = random.next();
      rules.position = uint64_t(random.integer(0, 4000));
      rules.top_logprobs = int32_t(random.integer(-1, 4));
      if (random.chance(0.5)) rules.allowed = mask;
      if (random.chance(0.5)) rules.biases = biases;
      in.rules.push_back(rules);
    }
    const Rows logits = write(*machine_, values, vocabulary);
    Samples samples(static_cast<size_t>(rows));
    run_step(*machine_, in, [&] { machine_->sample(in, logits, samples); });
    ASSERT_EQ(samples.size(), size_t(rows));
    SamplingScratch scratch;
    for (size_t r = 0; r < size_t(rows); ++r) {
      Sample want;
      choose(values[r], in.rules[r], scratch, want);
      EXPECT_EQ(samples[r].id, want.id);
      EXPECT_EQ(samples[r].log_probability, want.log_probability);
      ASSERT_EQ(samples[r].top.size(), want.top.size());
      for (size_t i = 0; i < want.top.size(); ++i) {
        EXPECT_EQ(samples[r].top[i].id, want.top[i].id);
        EXPECT_EQ(samples[r].top[i].log_probability, want.top[i].log_probability);
      }
    }
  }
}

UPDRAFT_ON_EVERY_MACHINE(SampleContract);

}  // namespace
}  // namespace updraft::compute
