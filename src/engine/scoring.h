// Scoring: the logits of every position of given ids, outside the batch: for parity checks and likelihoods. It takes
// pages that the batch has not reserved and gives them back; a batch in progress goes on afterwards with the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/pager.h"
#include "engine/rope_table_cache.h"
#include "engine/step_builder.h"

namespace updraft::engine {

struct ScoringParts {
  compute::Machine& machine;
  const model::Workspace& workspace;
  StepBuilder& builder;
  Pager& pager;
  RopeTableCache& ropes;
  int64_t positions;  // of a RoPE table, at least: those of the batch, so that both share one
};

using LogitsRow = std::function<void(int64_t position, std::span<const float>)>;

// chunk: rows a step, at most as many as there are output rows. `watch` hears of rows of the ids; false: it ended a
// step. Throws Error when pages are missing or the machine fails.
bool score(const ScoringParts&, std::span<const int32_t> ids, int64_t chunk, const LogitsRow& row,
           const model::StepWatch& watch);

}  // namespace updraft::engine
