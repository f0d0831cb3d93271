// Request and its answer: token ids in, token ids out. Strings live above, device pointers below.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compute/step_inputs.h"

namespace updraft::engine {

using RequestId = uint64_t;
using Clock = std::chrono::steady_clock;

// transformers' names and semantics (GenerationConfig); presence/frequency penalty and logit bias as in the OpenAI API.
struct SamplingParameters {
  bool do_sample = false;  // false: greedy
  float temperature = 1;
  int32_t top_k = 50;  // transformers' default once do_sample is on; 0: off
  float top_p = 1, min_p = 0, typical_p = 1, epsilon_cutoff = 0, eta_cutoff = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int32_t no_repeat_ngram_size = 0;
  std::vector<std::vector<int32_t>> bad_words;
  std::vector<std::pair<std::vector<int32_t>, float>> sequence_bias;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<int32_t> suppressed_ids, begin_suppressed_ids;
  uint64_t seed = 0;
  int32_t top_logprobs = -1;  // -1: none; n: the chosen token's and the n best
};

enum class FinishReason : uint8_t { kNone, kEos, kLength, kStop, kCancelled, kDeadline, kError };
std::string_view name(FinishReason);  // "eos", "length", "stop", "cancelled", "deadline", "error"

struct Token {
  int32_t id = -1;
  float log_probability = 0;
  std::vector<compute::Sample::Alternative> top;
};

struct Request {
  std::vector<int32_t> ids;  // the prompt, at least one token
  SamplingParameters sampling;
  std::optional<int64_t> max_new_tokens;  // none: until EOS or the context is full
  int64_t min_new_tokens = 0;             // EOS is not chosen before
  std::vector<int32_t> eos_ids;           // generation stops after any of these; the chosen one is part of the answer
  bool ignore_eos = false;                // EOS is never chosen
  std::optional<int64_t> context;         // the sequence's RoPE context; default prompt + max_new_tokens
  int32_t priority = 0;                   // larger first
  std::optional<Clock::time_point> deadline;
  bool speculate = true;  // where the engine may; the answer is the same bits either way
  int32_t n = 1;          // answers from one prompt, by shared pages; the i-th uses seed + i
  // Called on the thread that calls step(), once per new token of answer `index`; false ends that answer (kStop). It
  // may call submit() and cancel(); what it throws ends that answer (kError).
  std::function<bool(int32_t index, const Token&)> on_token;
};

struct Timings {
  double queued_s = 0;                // submitted to first scheduled
  double time_to_first_token_s = 0;   // submitted to first token
  double prefill_s = 0;               // first scheduled to first token
  double decode_s = 0;                // first token to last token
  std::vector<double> token_times_s;  // of each token, since submission
};

struct Answer {
  std::vector<int32_t> ids;   // new ones only
  std::vector<Token> tokens;  // with log-probabilities when asked for; else empty
  FinishReason finish_reason = FinishReason::kNone;
  std::string error;  // for kError
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // prompt tokens whose pages came from the prefix index
  int64_t steps = 0;          // that chose at least one of its tokens
  int64_t proposed = 0;       // tokens that were guessed and verified
  int64_t accepted = 0;       // of these, right
  double tokens_per_step() const { return steps > 0 ? double(ids.size()) / double(steps) : 0; }
  Timings timings;
};

// Why this request can never run, as one sentence; empty: it can.
std::string refuse(const Request&, int64_t vocabulary, int64_t max_context);

}  // namespace updraft::engine
