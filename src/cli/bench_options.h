// What `updraft bench` is asked for, and how a run record keeps it: the flags and the protocol, for --replay.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/openai_client.h"
#include "measure/bench_protocol.h"
#include "measure/sweep.h"

namespace updraft::cli {

struct BenchOptions {
  ModelOptions model;
  measure::Protocol protocol;
  measure::SweepOptions sweep;
  bool quick = false, no_tasks = false, real_fill = false, no_probe = false;
  std::string format = "table", output, html, record, language;
  std::string replay;
  std::vector<std::string> compare;
  double fail_below = 0;
  Endpoint against;
};

// What a flag may ask for and, with --replay, a record.
struct Limits {
  int64_t least, most;
};
inline constexpr Limits kWarmupRuns{0, 1000}, kTimedRuns{1, 1000}, kNewTokens{1, 100000}, kPromptTokens{1, 1 << 24},
    kDepth{0, 1 << 24}, kSequences{1, 4096}, kRows{1, 4096}, kSamples{1, 1000};

nlohmann::ordered_json flags_json(const BenchOptions&);
nlohmann::ordered_json protocol_json(const BenchOptions&);

// What --replay does: the flags and the protocol of a record become this run's. Throws Error that names what is missing
// or may not stand there.
void restore(const nlohmann::ordered_json& record, BenchOptions&);
// Before anything is read or pulled: refuses flags that contradict each other or that this kind of run does not use, by
// name. Throws CLI::ValidationError.
void check_usage(const CLI::App& command, const BenchOptions&);
// --quick is a default of its own: what a flag says stands.
void apply_quick(const CLI::App& command, BenchOptions&);

bool has_sweep(const measure::SweepOptions&);
// The first part of a sweep whose sequences become longer than `context` tokens, as the flag says it; "" if none does.
std::string beyond_context(const measure::SweepOptions&, int64_t context);

}  // namespace updraft::cli
