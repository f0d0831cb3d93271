// MemoryPlan: how much memory a model needs in a packing and a context, from its shapes alone (nothing is loaded). Used
// by inspect and doctor.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/checkpoint.h"
#include "compute/kv_geometry.h"
#include "model/weight_choice.h"

namespace updraft::session {

struct MemoryPlan {
  int64_t weights_bytes = 0;   // kept in memory: every matrix as chosen, norms and biases F32
  int64_t streamed_bytes = 0;  // read once by each step: all but the embedding table, unless it is the head too
  int64_t kv_bytes = 0;        // of `context` tokens
  int64_t kv_bytes_per_token = 0;
  int64_t total_bytes = 0;  // with 300 MB for the program, its buffers and the tokenizer
};

// `stored`: the opened checkpoint, whose types `auto` keeps; null: every matrix is of type `natural`.
MemoryPlan plan_memory(const checkpoint::ModelConfig&, const checkpoint::Checkpoint* stored, DType natural,
                       const model::WeightChoice&, compute::KvType kv, int64_t context);

MemoryPlan plan_memory(const checkpoint::Checkpoint&, const model::WeightChoice&, compute::KvType kv, int64_t context);

// What inspect and doctor show: f32, f16, bf16, int8, int4.
std::vector<model::WeightChoice> usual_choices();

}  // namespace updraft::session
