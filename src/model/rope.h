// RoPE tables of a model: every kind of the reference (default, linear, dynamic, yarn, llama3, longrope). Frequencies
// are computed as transformers does (in F32 where it does), angles in double, each entry rounded once.
#pragma once

#include <cstdint>
#include <memory>

#include "checkpoint/model_config.h"
#include "compute/rope_tables.h"

namespace updraft::model {

// The table for a sequence whose context (see the law of the house) is `context_tokens`, with `positions` entries.
// Only `dynamic` and `longrope` depend on context_tokens.
std::shared_ptr<const compute::RopeTable> make_rope_table(const checkpoint::ModelConfig&, int64_t context_tokens,
                                                          int64_t positions);

// Names the table that a context gets, so that equal keys share one: 0 for kinds with one table, 0/1 (short/long) for
// longrope, max(context, max_context) for dynamic. Part of the numerics key.
int64_t rope_table_key(const checkpoint::ModelConfig&, int64_t context_tokens);

}  // namespace updraft::model
