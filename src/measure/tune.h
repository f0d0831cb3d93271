// Tune: which settings are fastest here for this shape of model. Each candidate is measured beside the best so far, in
// turn, and taken only when it is clearly faster. What was taken is then measured beside the defaults, and kept only
// where it is faster beyond the noise: the defaults stay where nothing is gained. Nothing it tries changes a bit of a
// result.
#pragma once

#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/progress.h"
#include "compute/tuning.h"
#include "session/session.h"

namespace updraft::measure {

struct TuneOptions {
  double seconds = 45;          // for all of it; what is not confirmed by then stays at its default
  int64_t prompt_tokens = 512;  // of one measurement; fewer where the model is slow
  int64_t depth = 256;          // context while decoding
  int rounds = 5;               // measurements of a candidate and of the best so far, in turn
  double clearly = 0.02;        // a candidate must be faster by this part
};

// How the session must be loaded for this.
void prepare(const TuneOptions&, session::LoadOptions&);

struct TuneResult {
  compute::Tuning best;
  // {"decode_gain", "prefill_gain": time with the defaults / time with the best, 1 where those are the defaults,
  //  "prompt_tokens" (0: too slow to measure prompts), "complete", "trials": [{"setting", "value", "times_best" (of the
  //  best so far), "taken"}, ...], "confirmations": [{"settings": "decode" or "prefill", "gain", "low", "rounds",
  //  "kept"}, ...]}
  nlohmann::ordered_json measured;
};
// Leaves the machine with the best settings.
TuneResult tune(session::Session&, const TuneOptions&, const ProgressCallback&, const std::atomic<bool>& cancelled);

// What tuning times, in seconds: a model in a session, or a test's own.
class TunedWork {
 public:
  virtual ~TunedWork() = default;
  virtual double decode_s(const compute::Tuning&, int64_t steps, int64_t rows_a_step) = 0;
  virtual double prefill_s(const compute::Tuning&, int64_t tokens) = 0;
};
// `threads`: of the machine. Only what `work` says counts as time.
TuneResult tune(TunedWork& work, int threads, const TuneOptions&, const ProgressCallback&,
                const std::atomic<bool>& cancelled);

// What a prompt must have at least, to say anything of settings for prompts.
constexpr int64_t kShortestTunedPrompt = 128;

// Every value that tune() tries, of each field: for the test that no bit changes.
std::vector<compute::Tuning> search_space(int threads);

}  // namespace updraft::measure
