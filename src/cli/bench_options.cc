#include "cli/bench_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <type_traits>

#include "base/error.h"

namespace updraft::cli {

using nlohmann::ordered_json;

namespace {

// The record may be run again from another folder.
std::string absolute(const std::string& model) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(model, error).lexically_normal();
  return model.empty() || error || !std::filesystem::exists(path, error) ? model : path.string();
}

const ordered_json& part_of_record(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object())
    fail("--replay: this record cannot be run again: it has no {}", key);
  return *found;
}

// value = object[key].
template <class Value>
void take(const ordered_json& object, const char* key, Value& value) {
  const auto found = object.find(key);
  if (found == object.end()) fail("--replay: this record cannot be run again: it has no {}", key);
  try {
    if (std::is_same_v<Value, int64_t> && !found->is_number_integer())
      fail("--replay: this record cannot be run again: its {} is {}", key, found->dump());
    value = found->get<Value>();
  } catch (const nlohmann::json::exception&) {
    fail("--replay: this record cannot be run again: its {} is {}", key, found->dump());
  }
}

void check_within(const char* key, Limits limits, int64_t number) {
  if (number < limits.least || number > limits.most)
    fail("--replay: this record cannot be run again: its {} has {} where {} to {} may stand", key, number, limits.least,
         limits.most);
}

// The same for what must lie within the limits of its flag: a number, or a list of them.
template <class Number>
void take(const ordered_json& object, const char* key, Limits limits, Number& number) {
  int64_t wide = int64_t(number);
  take(object, key, wide);
  check_within(key, limits, wide);
  number = Number(wide);
}
void take(const ordered_json& object, const char* key, Limits limits, std::vector<int64_t>& numbers) {
  take(object, key, numbers);
  for (const int64_t number : numbers) check_within(key, limits, number);
}

}  // namespace

ordered_json flags_json(const BenchOptions& options) {
  const ModelOptions& m = options.model;
  return {{"against", options.against.url},
          {"against_model", options.against.model},
          {"no_probe", options.no_probe},
          {"model", absolute(m.model)},
          {"synthetic", m.synthetic},
          {"synthetic_seed", m.synthetic_seed},
          {"device", m.device},
          {"instruction_set", m.instruction_set},
          {"threads", m.threads},
          {"exact", m.exact},
          {"dtype", m.dtype},
          {"kv_dtype", m.kv_dtype},
          {"context", m.context}};
}

ordered_json protocol_json(const BenchOptions& options) {
  const measure::Protocol& p = options.protocol;
  return {{"tasks", options.no_tasks ? ordered_json::array() : ordered_json(p.tasks)},
          {"no_tasks", options.no_tasks},
          {"warmup_runs", p.warmup_runs},
          {"timed_runs", p.timed_runs},
          {"max_new_tokens", p.max_new_tokens},
          {"stop_at_eos", p.stop_at_eos},
          {"speculate", p.speculate},
          {"sampling", "greedy"},
          {"prompts_hash", measure::prompts_hash(p)},
          {"sweep",
           {{"prompts", options.sweep.prompts},
            {"depths", options.sweep.depths},
            {"batches", options.sweep.batches},
            {"rows", options.sweep.rows},
            {"decode_tokens", options.sweep.decode_tokens},
            {"samples", options.sweep.samples},
            {"synthetic_fill", options.sweep.synthetic_fill},
            {"seed", options.sweep.seed}}}};
}

void restore(const ordered_json& record, BenchOptions& options) {
  const ordered_json &flags = part_of_record(record, "flags"), &protocol = part_of_record(record, "protocol");
  const ordered_json& sweep = part_of_record(protocol, "sweep");
  // What records of earlier versions lack stays as it is without a flag.
  if (flags.contains("against")) take(flags, "against", options.against.url);
  if (flags.contains("against_model")) take(flags, "against_model", options.against.model);
  if (bool without = false; flags.contains("no_probe")) {
    take(flags, "no_probe", without);
    options.no_probe = options.no_probe || without;
  }
  if (protocol.contains("speculate")) take(protocol, "speculate", options.protocol.speculate);
  if (sweep.contains("rows")) take(sweep, "rows", kRows, options.sweep.rows);
  ModelOptions& m = options.model;
  take(flags, "model", m.model);
  take(flags, "synthetic", m.synthetic);
  take(flags, "synthetic_seed", m.synthetic_seed);
  take(flags, "device", m.device);
  take(flags, "instruction_set", m.instruction_set);
  take(flags, "threads", {0, kMostThreads}, m.threads);
  take(flags, "exact", m.exact);
  take(flags, "dtype", m.dtype);
  take(flags, "kv_dtype", m.kv_dtype);
  take(flags, "context", {0, INT64_MAX}, m.context);
  take(protocol, "no_tasks", options.no_tasks);
  take(protocol, "tasks", options.protocol.tasks);
  take(protocol, "warmup_runs", kWarmupRuns, options.protocol.warmup_runs);
  take(protocol, "timed_runs", kTimedRuns, options.protocol.timed_runs);
  take(protocol, "max_new_tokens", kNewTokens, options.protocol.max_new_tokens);
  take(protocol, "stop_at_eos", options.protocol.stop_at_eos);
  take(sweep, "prompts", kPromptTokens, options.sweep.prompts);
  take(sweep, "depths", kDepth, options.sweep.depths);
  take(sweep, "batches", kSequences, options.sweep.batches);
  take(sweep, "decode_tokens", kNewTokens, options.sweep.decode_tokens);
  take(sweep, "samples", kSamples, options.sweep.samples);
  take(sweep, "synthetic_fill", options.sweep.synthetic_fill);
  take(sweep, "seed", options.sweep.seed);
}

void refuse_flags_beside_replay(const CLI::App& command) {
  constexpr std::string_view kFree[] = {"replay", "quick",  "no-probe", "format",     "output",
                                        "html",   "record", "lang",     "fail-below", "api-key"};
  for (const CLI::Option* option : command.get_options())
    if (option->count() > 0 && std::none_of(std::begin(kFree), std::end(kFree), [&](std::string_view name) {
          return option->check_lname(std::string(name));
        }))
      throw CLI::ValidationError(fmt::format("--replay runs what the record ran: leave {} out", option->get_name()));
}

}  // namespace updraft::cli
