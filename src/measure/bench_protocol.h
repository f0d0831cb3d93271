// The benchmark's protocol: tasks x (warm-up runs + timed runs), greedy, a fixed number of new tokens. What is measured
// is a Target: a session in this process, or an OpenAI-compatible server elsewhere. Results are JSON in the field's
// terms, with units in the names; they go into the run record as they are.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/progress.h"

namespace updraft::measure {

struct Protocol {
  int warmup_runs = 2;
  int timed_runs = 5;
  int64_t max_new_tokens = 120;
  bool stop_at_eos = false;        // the article's exact behaviour: a run counts the tokens it made
  std::vector<std::string> tasks;  // ids; empty: the article's five
  bool speculate = false;          // every run twice in turn, plain and speculating; the answers must be equal
};

// One run of one task.
struct TaskRun {
  int64_t prompt_tokens = 0;  // 0: the target did not say
  int64_t new_tokens = 0;
  std::string text, finish_reason;
  std::vector<int32_t> ids;                       // where the target knows them
  int64_t steps = 0, proposed = 0, accepted = 0;  // of speculation
  double latency_s = 0;                           // request to last token
  std::vector<double> token_times_s;              // of each token (or each piece of a stream), since the request
};

class Target {
 public:
  virtual ~Target() = default;
  // Speculates if the protocol says so and the target can. Throws Error.
  virtual TaskRun run(const std::string& user_message, const Protocol&) = 0;
};

// [{"id", "name", "name_zh", "prompt_tokens", "new_tokens", "latency_s": {...}, "tokens_per_second",
//   "time_to_first_token_s": {...}, "prefill_tokens_per_second", "decode_tokens_per_second",
//   "inter_token_latency_s": {"p50", "p95", "p99"}, "text", "finish_reason", "samples": [...]}, ...]
// null is what cannot be told: prompt tokens that a server does not count, gaps of runs of one token.
// With speculation each also has "speculation": {"proposed", "accepted", "tokens_per_step" (of one run),
//   "plain_latency_s": {...}, "speedup" (median over the pairs of runs of plain / speculating time),
//   "plain_samples_s"}.
// Stops early (fewer tasks) when `keep_going` says false between runs.
nlohmann::ordered_json run_protocol(Target&, const Protocol&, const ProgressCallback&,
                                    const std::function<bool()>& keep_going);

// The average row over tasks, as the article takes it: means of the tasks' means.
nlohmann::ordered_json average_row(const nlohmann::ordered_json& tasks);

// Of times or rates: the interval of a mean ends at 0; null for fewer than two samples.
nlohmann::ordered_json summary_json(const std::vector<double>& samples);
int task_count(const Protocol&);
std::string prompts_hash(const Protocol&);  // 16 hex digits over the prompts in use

}  // namespace updraft::measure
