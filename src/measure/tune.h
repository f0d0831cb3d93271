// Tune: which settings are fastest here for this shape of model. Each candidate is measured beside the best so far, in
// turn, and taken only when it is clearly faster, so that noise changes nothing and the defaults stay where nothing is
// gained. Nothing it tries changes a bit of a result.
#pragma once

#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/progress.h"
#include "compute/tuning.h"
#include "session/session.h"

namespace updraft::measure {

struct TuneOptions {
  double seconds = 45;          // for all of it; what is not reached by then stays as it is
  int64_t prompt_tokens = 512;  // of one measurement; fewer where the model is slow
  int64_t depth = 256;          // context while decoding
  int rounds = 5;               // measurements of a candidate and of the best so far, in turn
  double clearly = 0.02;        // a candidate must be faster by this part
};

// How the session must be loaded for this.
void prepare(const TuneOptions&, session::LoadOptions&);

struct TuneResult {
  compute::Tuning best;
  // {"decode_gain", "prefill_gain": time with the defaults / time with the best, measured in turn at the end,
  //  "prompt_tokens", "complete", "trials": [{"setting", "value", "times_best" (of the best so far), "taken"}, ...]}
  nlohmann::ordered_json measured;
};
// Leaves the machine with the best settings.
TuneResult tune(session::Session&, const TuneOptions&, const ProgressCallback&, const std::atomic<bool>& cancelled);

// Every value that tune() tries, of each field: for the test that no bit changes.
std::vector<compute::Tuning> search_space(int threads);

}  // namespace updraft::measure
