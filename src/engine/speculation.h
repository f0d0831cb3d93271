// Speculation without loss: the tokens that probably come next, guessed from the sequence itself. The longest suffix
// that stood somewhere before is taken to go on as it did there ("prompt lookup"); one step then computes the guesses
// beside the row that must be computed, and those that the model would have chosen anyway are kept. By the law of the
// house the answer is the same bits with and without; a guess costs only its row. How many tokens are guessed follows
// from how often such guesses were right in this answer, and what a row costs: where text does not repeat, nothing is
// proposed. Source: Saxena 2023 (prompt lookup decoding); Leviathan et al. 2023 (verification in one step).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace updraft::engine {

struct SpeculationOptions {
  bool on = true;
  int64_t most = 11;     // tokens proposed for one step: with its own row, one tile of the CPU's kernels
  int64_t shortest = 2;  // ids that must have stood there before
  // Time of a step of 1 + n rows beside one of one row: 1 + step_cost + n row_cost.
  double step_cost = 0.05;
  double row_cost = 0.06;
};

// Guesses for one growing sequence. What it proposes is a function of the ids, the length of the prompt and the
// arguments of propose(), however many ids came with each call. A new id costs about a microsecond, at any length.
class Proposer {
 public:
  Proposer(const SpeculationOptions& options, int64_t prompt_tokens);

  // Writes the guesses for what follows `ids` to `out`, at most `most` of them; perhaps none. `sequences`: how many
  // decode in the step, for the more there are, the more another row costs. `ids` only grows between calls.
  void propose(std::span<const int32_t> ids, int64_t most, int64_t sequences, std::vector<int32_t>& out);

 private:
  // The ids before `next` are the last `length` ids, and ids[next] is what followed them.
  struct Match {
    int64_t next = 0;
    int64_t length = 0;  // 0: none
  };
  // Guesses after longer matches are right more often: each class of lengths has its own rate.
  static constexpr int kClasses = 6;
  static int class_of(int64_t length);

  void take_in(std::span<const int32_t> ids);
  Match find(std::span<const int32_t> ids, const Match& continued) const;
  void remember(std::span<const int32_t> ids);
  size_t bucket(std::span<const int32_t> ids) const;

  SpeculationOptions options_;
  int64_t prompt_tokens_;
  int64_t taken_ = 0;  // ids taken in so far
  Match match_;        // after them
  std::array<double, kClasses> rates_;
  // previous_[p] is the position before p at which the same `shortest` ids ended, as far as hashes tell; 0: none.
  std::vector<int32_t> latest_;    // by hash of those ids; a power of two
  std::vector<int32_t> previous_;  // by position
};

}  // namespace updraft::engine
