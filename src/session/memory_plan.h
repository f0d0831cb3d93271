// MemoryPlan: how much memory a model needs in a packing and a context, from its shapes alone (nothing is loaded). Used
// by inspect and doctor.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "checkpoint/model_config.h"
#include "compute/kv_geometry.h"

namespace updraft::session {

struct MemoryPlan {
  int64_t weights_bytes = 0;   // kept in memory: every matrix in `dtype`, norms and biases F32
  int64_t streamed_bytes = 0;  // read once by each step: all but the embedding table, unless it is the head too
  int64_t kv_bytes = 0;        // of `context` tokens
  int64_t kv_bytes_per_token = 0;
  int64_t total_bytes = 0;  // with 300 MB for the program, its buffers and the tokenizer
};

MemoryPlan plan_memory(const checkpoint::ModelConfig&, DType weights, compute::KvType kv, int64_t context);

}  // namespace updraft::session
