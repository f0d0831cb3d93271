#include "cli/bench_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <type_traits>
#include <utility>

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

const ordered_json& field_of_record(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) fail("--replay: this record cannot be run again: it has no {}", key);
  return *found;
}

const ordered_json& part_of_record(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object())
    fail("--replay: this record cannot be run again: it has no {}", key);
  return *found;
}

// A float is no whole number here: large ones have no defined conversion.
template <class Value>
Value read(const char* key, const ordered_json& json) {
  constexpr bool kWhole = std::is_integral_v<Value> && !std::is_same_v<Value, bool>;
  try {
    if (!kWhole || json.is_number_integer()) return json.get<Value>();
  } catch (const nlohmann::json::exception&) {
  }
  fail("--replay: this record cannot be run again: its {} is {}", key, json.dump());
}

int64_t read_within(const char* key, Limits limits, const ordered_json& json) {
  const int64_t number = read<int64_t>(key, json);
  if (number < limits.least || number > limits.most)
    fail("--replay: this record cannot be run again: its {} has {} where {} to {} may stand", key, number, limits.least,
         limits.most);
  return number;
}

// value = object[key].
template <class Value>
void take(const ordered_json& object, const char* key, Value& value) {
  value = read<Value>(key, field_of_record(object, key));
}

// The same for what must lie within the limits of its flag: a number, or a list of them.
template <class Number>
void take(const ordered_json& object, const char* key, Limits limits, Number& number) {
  number = Number(read_within(key, limits, field_of_record(object, key)));
}
void take(const ordered_json& object, const char* key, Limits limits, std::vector<int64_t>& numbers) {
  numbers.clear();
  for (const ordered_json& number : read<std::vector<ordered_json>>(key, field_of_record(object, key)))
    numbers.push_back(read_within(key, limits, number));
}

// The names without their dashes. Throws CLI::ValidationError that says `why` and names every other flag that was
// given.
void refuse_all_but(const CLI::App& command, std::initializer_list<std::string_view> used, std::string_view why) {
  std::vector<std::string> others;
  for (const CLI::Option* option : command.get_options())
    if (option->count() > 0 && std::none_of(used.begin(), used.end(), [&](std::string_view name) {
          return option->check_lname(std::string(name));
        }))
      others.push_back(option->get_name());
  if (!others.empty()) throw CLI::ValidationError(fmt::format("{}: leave {} out", why, fmt::join(others, ", ")));
}

// The one that is written later would take the other's place. What is no file (/dev/null) may be named twice.
void refuse_one_file_twice(const std::vector<std::pair<const char*, std::string>>& files) {
  namespace fs = std::filesystem;
  const auto place = [](const std::string& path) {
    std::error_code error;
    const fs::path whole = fs::weakly_canonical(path, error);
    return error ? fs::path(path) : whole;
  };
  for (size_t i = 0; i < files.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const auto& [first, path] = files[j];
      std::error_code error;
      const bool special = fs::exists(path, error) && !fs::is_regular_file(path, error);
      if (!path.empty() && !files[i].second.empty() && !special && place(path) == place(files[i].second))
        throw CLI::ValidationError(
            fmt::format("{} and {} name the same file, {}: give each its own", first, files[i].first, path));
    }
}

}  // namespace

ordered_json flags_json(const BenchOptions& options) {
  const ModelOptions& m = options.model;
  // How a server loaded its model is not this run's choice.
  if (!options.against.url.empty()) return {{"against", options.against.url}, {"against_model", options.against.model}};
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
  if (options.against.url.empty()) {
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
  }
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

void check_usage(const CLI::App& command, const BenchOptions& options) {
  const auto given = [&](const char* flag) { return command.count(flag) > 0; };
  if (given("--replay"))
    refuse_all_but(
        command, {"replay", "quick", "no-probe", "format", "output", "html", "record", "lang", "fail-below", "api-key"},
        "--replay runs what the record ran");
  if (given("--compare")) {
    refuse_all_but(command, {"compare", "fail-below", "format", "output", "lang"},
                   "--compare reads two run records and measures nothing");
    if (options.format != "table" && options.format != "json")
      throw CLI::ValidationError(fmt::format("--compare gives table or json: leave --format {} out", options.format));
  }
  if (given("--against"))
    refuse_all_but(command,
                   {"against", "model", "api-key", "warmup", "runs", "max-new-tokens", "stop-at-eos", "quick", "tasks",
                    "format", "output", "html", "record", "lang", "fail-below"},
                   "--against runs the tasks on a server's model, as the server loaded it");
  if (given("--model") && !given("--against"))
    throw CLI::ValidationError("--model names a model of the server that --against URL measures: leave it out");
  if (given("--api-key") && !given("--against") && !given("--replay"))
    throw CLI::ValidationError("--api-key is for the server that --against URL measures: leave it out");
  if (options.fail_below > 0 && !given("--replay") && !given("--compare"))
    throw CLI::ValidationError("--fail-below belongs to --replay or --compare");
  if (given("--no-tasks") && given("--tasks"))
    throw CLI::ValidationError("--tasks chooses from what --no-tasks leaves out: give one of the two");
  if (options.no_tasks && !has_sweep(options.sweep))
    throw CLI::ValidationError("--no-tasks leaves nothing to measure: give --prompt, --batch, --depth or --rows");
  if (options.no_tasks && options.protocol.speculate)
    throw CLI::ValidationError("--speculate measures the tasks, which --no-tasks leaves out: give one of the two");
  if (const std::string longest = beyond_context(options.sweep, options.model.context);
      given("--context") && !longest.empty())
    throw CLI::ValidationError(
        fmt::format("--context {} is too short for {}: raise it, or leave it out", options.model.context, longest));
  refuse_one_file_twice({{"--output", options.output}, {"--html", options.html}, {"--record", options.record}});
}

void apply_quick(const CLI::App& command, BenchOptions& options) {
  if (!options.quick) return;
  measure::Protocol& protocol = options.protocol;
  if (command.count("--warmup") == 0) protocol.warmup_runs = 1;
  if (command.count("--runs") == 0) protocol.timed_runs = 2;
  if (command.count("--max-new-tokens") == 0) protocol.max_new_tokens = 32;
}

bool has_sweep(const measure::SweepOptions& sweep) {
  return !sweep.prompts.empty() || !sweep.batches.empty() || !sweep.rows.empty();
}

std::string beyond_context(const measure::SweepOptions& sweep, int64_t context) {
  for (const int64_t prompt : sweep.prompts)
    if (prompt > context) return fmt::format("--prompt {}", prompt);
  int64_t more = sweep.batches.empty() ? 0 : sweep.decode_tokens;
  for (const int64_t rows : sweep.rows) more = std::max(more, rows);
  for (const int64_t depth : sweep.depths)
    if (more > 0 && depth + more > context) return fmt::format("--depth {} and the {} tokens after it", depth, more);
  return "";
}

}  // namespace updraft::cli
