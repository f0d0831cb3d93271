// StepInputs: everything a step needs to know about its rows, as plain arrays, made by the engine and read by a
// machine. A step is a batch of rows; a row is one token of one sequence. Rows of one sequence are adjacent and their
// positions consecutive. Vectors are reserved to their largest size before the first step, so a step does not allocate.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace updraft::compute {

// Rules for choosing one token, with transformers' names, order and semantics. What depends on the sequence's history
// arrives as biases, seen tokens and a mask. Defaults change nothing; temperature 0 is greedy.
// Source: transformers generation/logits_process.py; presence and frequency penalties: the OpenAI API.
struct SampleRules {
  float temperature = 0;  // 0: argmax (lowest id wins a tie) after the history rules
  int32_t top_k = 0;      // 0: off
  float top_p = 1;
  float min_p = 0;
  float typical_p = 1;
  float epsilon_cutoff = 0;
  float eta_cutoff = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  uint64_t position = 0;     // of the token being chosen: the counter of the random number
  int32_t top_logprobs = 0;  // how many alternatives to report; -1: no log-probabilities at all

  struct Bias {
    int32_t id;
    float value;
  };
  struct Seen {
    int32_t id;
    int32_t generated;
  };                                  // id is in prompt or output; `generated` times in the output
  std::span<const Bias> biases;       // added first (sequence bias, logit bias); -inf forbids
  std::span<const Seen> seen;         // each id once: repetition penalty; presence and frequency where generated > 0
  std::span<const uint64_t> allowed;  // bit per id, empty: all. The door for constrained decoding, bad words, n-grams
};

struct Sample {
  struct Alternative {
    int32_t id;
    float log_probability;
  };
  int32_t id = -1;
  bool undefined = false;        // id is -1 because no logit is a number
  float log_probability = 0;     // of the raw logits (log softmax), before any rule
  std::vector<Alternative> top;  // top_logprobs best of the raw logits, best first
};
using Samples = std::vector<Sample>;  // one per output row

struct StepInputs {
  struct Sequence {
    int32_t row_begin = 0;  // its rows in this step are [row_begin, row_begin + row_count)
    int32_t row_count = 0;
    int32_t page_table_begin = 0;  // its pages are page_tables[page_table_begin, + page_count)
    int32_t page_count = 0;        // page p holds positions [p * page_tokens, (p + 1) * page_tokens)
  };

  // [rows]
  std::vector<int32_t> ids;
  std::vector<int32_t>
      positions;  // 0-based; K and V of the row go to page positions/page_tokens, slot positions%page_tokens
  std::vector<int32_t> sequences;    // index into `sequence`
  std::vector<int32_t> rope_tables;  // index into RopeTables::tables

  // [sequences of this step]; page ids, concatenated. A page behind the attention window may be -1.
  std::vector<Sequence> sequence;
  std::vector<int32_t> page_tables;

  // [output rows]: rows whose logits are computed, ascending; rules[i] chooses the token after output_rows[i].
  std::vector<int32_t> output_rows;
  std::vector<SampleRules> rules;  // empty: logits only, no sampling

  int64_t rows() const { return int64_t(ids.size()); }
  void clear();  // keeps the capacity
};

// Equal keys promise an equal sequence of verbs over equally many rows: a machine may replay what it recorded.
struct StepKey {
  int64_t rows = 0;
  int64_t output_rows = 0;
  bool watched = false;  // the body may end early: not to be recorded; what was recorded unwatched may replace it
  bool operator==(const StepKey&) const = default;
};

}  // namespace updraft::compute
