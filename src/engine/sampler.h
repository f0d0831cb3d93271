// Sampler: what a sequence's history means for the choice of its next token. It turns SamplingParameters into
// compute::SampleRules with transformers' semantics; the rules themselves are applied by the machine. Work per token is
// proportional to what the token changes, never to the vocabulary; greedy choice without rules costs nothing.
// Source: transformers generation/logits_process.py; presence, frequency and logit bias: the OpenAI API.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "compute/step_inputs.h"
#include "engine/request.h"

namespace updraft::engine {

// All n-grams of a growing sequence, by their first n - 1 ids. Each continuation is kept once.
class NgramIndex {
 public:
  explicit NgramIndex(int64_t n) : n_(n) {}

  // Takes in the n-gram that ends with ids[last]. Call once for each position, in order.
  void append(std::span<const int32_t> ids, int64_t last);
  // The ids that followed the last n - 1 of `ids` before, ascending.
  std::span<const int32_t> continuations(std::span<const int32_t> ids) const;

 private:
  struct Entry {
    int64_t begin;              // where the first n - 1 ids stand
    std::vector<int32_t> next;  // ascending
  };
  uint64_t hash(std::span<const int32_t> context) const;

  int64_t n_;
  std::unordered_map<uint64_t, std::vector<Entry>> by_hash_;
};

class Sampler {
 public:
  // `answer` is the index among the request's n. The request outlives the sampler.
  Sampler(const Request& request, int32_t answer);

  // The rules for the token after `ids` (prompt and what was generated), of which the first prompt_tokens are the
  // prompt. `ids` only grows between calls. The spans in the result hold until the next call.
  compute::SampleRules rules(std::span<const int32_t> ids);
  // Whether rules_ahead() can tell the rules for tokens further on: not where an n-gram or a phrase is forbidden or
  // biased, nor before min_new_tokens.
  bool sees_ahead(std::span<const int32_t> ids) const;
  // The rules for the token after `ids` and the first n of `proposed`, for every n from 1 to proposed.size(), appended
  // to `out`. Call after rules(ids); the spans hold until the next call of that.
  void rules_ahead(std::span<const int32_t> ids, std::span<const int32_t> proposed,
                   std::vector<compute::SampleRules>& out);

 private:
  struct Phrase {
    std::vector<int32_t> ids;  // at least two: when all but the last stand at the end, the last gets `bias`
    float bias;
  };

  void add_static_rules();
  void forbid(std::span<const int32_t> ids);
  void take_in(std::span<const int32_t> ids);
  void count(int32_t id, bool generated);
  void add(int32_t id, float bias);  // for this token only

  const Request& request_;
  compute::SampleRules rules_;
  std::vector<Phrase> phrases_;
  std::vector<compute::SampleRules::Bias> biases_;  // static ones, ascending by id, then this token's
  size_t static_biases_ = 0;
  std::vector<std::pair<size_t, float>> changed_;  // static biases to restore: index, value
  std::vector<compute::SampleRules::Seen> seen_;
  std::unordered_map<int32_t, int32_t> seen_index_;                  // id -> index in seen_
  std::vector<std::vector<compute::SampleRules::Seen>> seen_ahead_;  // with the first n proposed
  NgramIndex ngrams_;
  bool counts_ = false;
  int64_t taken_ = 0;  // ids taken in so far
};

}  // namespace updraft::engine
