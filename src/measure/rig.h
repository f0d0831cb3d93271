// Rig: steps laid out by hand on an engine's own machine, workspace and KV cache while the engine is idle: what sweeps
// and tuning measure. Sequence s owns the pages [s * pages_each, (s + 1) * pages_each); ids come from a seed.
#pragma once

#include <atomic>
#include <cstdint>

#include "compute/rope_tables.h"
#include "compute/step_inputs.h"
#include "session/session.h"

namespace updraft::measure {

// Thrown between two layers of a step once `cancelled` is set: what was being measured counts for nothing.
struct Cancelled {};

class Rig {
 public:
  // Throws Error when the KV cache is too small. `cancelled` outlives the rig.
  Rig(session::Session& loaded, int64_t sequences, int64_t context, uint64_t seed, const std::atomic<bool>& cancelled);

  void fill(int64_t sequences, int64_t depth);  // seeded K and V in place of computed ones
  // Rows [position, position + count) of each sequence in one step; logits of the last `chosen` rows of each, and a
  // choice from them.
  void step(int64_t sequences, int64_t position, int64_t count, int64_t chosen);
  void prefill(int64_t sequences, int64_t tokens, int64_t rows_a_step);
  int64_t max_rows() const { return engine_.options().max_rows; }

 private:
  engine::Engine& engine_;
  const model::Decoder& decoder_;
  model::Workspace& workspace_;
  const int64_t page_tokens_, pages_each_;
  const int vocabulary_;
  const uint64_t seed_;
  const std::atomic<bool>& cancelled_;
  compute::RopeTables ropes_;
  compute::StepInputs in_;
  compute::Samples samples_;
};

}  // namespace updraft::measure
