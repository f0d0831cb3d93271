// Choosing one token from one row of logits: the one implementation, in double precision, that every machine without a
// sampler of its own calls and every other is tested against. Order and semantics are those of transformers'
// generate(); the random number is a counter-based function of (seed, position), so the same seed gives the same text
// under any batch.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "compute/step_inputs.h"

namespace updraft::compute {

// Scratch reused between calls; reserve it once with the vocabulary's size.
struct SamplingScratch {
  std::vector<float> scores;
  std::vector<double> probabilities;
  std::vector<int32_t> order;
};

// Scores after every rule, before the draw: what transformers' processors return. -inf = forbidden; a NaN logit counts
// as forbidden. out [vocabulary].
void process_scores(std::span<const float> logits, const SampleRules&, SamplingScratch&, std::span<float> out);

// out.id = -1 when the rules forbid every token.
void choose(std::span<const float> logits, const SampleRules&, SamplingScratch&, Sample& out);

// Uniform in [0, 1), a pure function of its arguments (Philox 4x32-10; Salmon et al. 2011).
double uniform(uint64_t seed, uint64_t position);

// The generator behind it: ten rounds of Philox 4x32.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

}  // namespace updraft::compute
