// How long a benchmark will take, told before it begins: from the bytes that it will read and a bandwidth. Prompts are
// limited by arithmetic, loading by page faults; for them there are rules of thumb, so that it is an estimate: half or
// twice as long happens.
#pragma once

#include <cstdint>

#include "compute/probe.h"
#include "measure/bench_protocol.h"
#include "measure/sweep.h"
#include "session/memory_plan.h"

namespace updraft::measure {

struct BenchWork {
  int tasks = 0;  // of the protocol; 0: none
  Protocol protocol;
  SweepOptions sweep;
  bool probes = true;  // the read bandwidth before and after, and the peaks
};

// `look`: a probe of any size.
double estimate_seconds(const BenchWork&, const session::MemoryPlan&, const compute::ReadBandwidth& look);

}  // namespace updraft::measure
