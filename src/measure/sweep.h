// Sweeps: prefill speed over prompt lengths, decode speed over context depth and batch, time of a step over its rows.
// Rows are built by hand on the engine's own machine and KV cache while the engine is idle, so that a depth of 32k can
// be measured without computing 32k tokens: the pages are filled with seeded K and V (`depth_fill: synthetic`), which
// reads the same bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/progress.h"
#include "session/session.h"

namespace updraft::measure {

struct SweepOptions {
  std::vector<int64_t> prompts;       // tokens to prefill; empty: no prefill sweep
  std::vector<int64_t> depths = {0};  // context before the first measured token
  std::vector<int64_t> batches;       // sequences decoding together; empty: no decode sweep
  std::vector<int64_t> rows;          // of one sequence in one step, as speculation verifies them; empty: no such sweep
  int64_t decode_tokens = 32;         // steps of one sample
  int samples = 5;                    // after one that is not counted
  bool synthetic_fill = true;         // false: prefill the depth for real
  uint64_t seed = 1;
};

// How many KV tokens the sweep needs at once: the session must be loaded with at least that (LoadOptions::kv_tokens).
int64_t sweep_kv_tokens(const SweepOptions&);

// [{"kind": "prefill", "prompt_tokens", "prefill_tokens_per_second": {...}, "samples_s": [...]},
//  {"kind": "decode", "depth", "batch", "depth_fill", "decode_tokens_per_second": {...} (of all sequences together),
//   "step_s": {...}, "bytes_per_step", "bandwidth_fraction" | null, "plain_read_bytes_per_second": {...} | null,
//   "of_plain_read": {...} | null, "samples_s": [...]},
//  {"kind": "rows", "depth", "rows", "step_s": {...}, "times_one_row" (median over samples taken in turn),
//   "samples_s": [...]}, ...]
// of_plain_read: each sample beside plainly reading the weights just before and after it: on a shared machine the
// memory moves between a probe and the samples.
// read_bandwidth 0: not measured, every bandwidth_fraction and of_plain_read is null.
nlohmann::ordered_json run_sweep(session::Session&, const SweepOptions&, double read_bandwidth, const ProgressCallback&,
                                 const std::atomic<bool>& cancelled);

}  // namespace updraft::measure
