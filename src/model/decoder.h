// Decoder: the model, written once, in verbs. Its forward() reads as the paper.
#pragma once

#include <cstdint>
#include <functional>

#include "compute/machine.h"
#include "model/decoder_weights.h"

namespace updraft::model {

// Told between two layers to how many of the step's rows the work done so far amounts; false: the step ends there and
// counts as never begun. It must not throw.
using StepWatch = std::function<bool(int64_t rows)>;

// Everything a step writes to, taken before the first step.
struct Workspace {
  compute::Rows x, q, attended, hidden, logits;
  compute::KvCachePtr kv;
};

class Decoder {
 public:
  Decoder(const checkpoint::ModelConfig&, DecoderWeights);

  const checkpoint::ModelConfig& config() const { return config_; }
  const DecoderWeights& weights() const { return weights_; }

  Workspace make_workspace(compute::Machine&, int64_t max_rows, int64_t max_output_rows, compute::KvType kv_dtype,
                           int64_t kv_pages) const;
  compute::KvGeometry kv_geometry(compute::KvType kv_dtype) const;

  // One step: embeds, runs every layer, computes the logits of in.output_rows. K and V go to w.kv. False: `watch` ended
  // it; what it wrote, only K and V of its own rows among what outlives a step, is to be computed again.
  bool forward(compute::Machine&, const compute::StepInputs&, const compute::RopeTables&, Workspace&,
               const StepWatch& watch = {}) const;

 private:
  checkpoint::ModelConfig config_;
  DecoderWeights weights_;
};

}  // namespace updraft::model
