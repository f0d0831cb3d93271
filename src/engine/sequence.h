// Sequence: one answer in the making: its ids, how many of them are computed, its pages, its table, its sampler. A
// Group is a request with its n sequences. Plain state; the rules are in Batch, Pager and the scheduler.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/pager.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"

namespace updraft::engine {

struct Group;

struct Sequence {
  Group* group = nullptr;
  int32_t index = 0;         // of the answer
  std::vector<int32_t> ids;  // the prompt and what was generated
  int64_t computed = 0;      // positions whose K and V are in its pages
  PageTable table;
  int32_t rope_table = -1;  // held from the first admission to the end
  std::optional<Sampler> sampler;
  std::optional<Proposer> proposer;  // where it may speculate
  std::vector<int32_t> proposed;     // for the step in progress
  Turn turn;
  bool running = false;
  Answer answer;
  std::optional<Clock::time_point> first_scheduled, first_token, last_token;

  bool finished() const { return answer.finish_reason != FinishReason::kNone; }
  int64_t pending() const { return int64_t(ids.size()) - computed; }
};

struct Group {
  RequestId id = 0;
  Request request;
  Clock::time_point submitted;
  int64_t context = 0;  // of the RoPE table
  int64_t limit = 0;    // ids of a sequence, at most
  bool bounded = true;  // all pages up to the limit are reserved at admission
  int64_t rope_table_key = 0;
  std::vector<Sequence> sequences;
  int32_t unfinished = 0;
};

}  // namespace updraft::engine
