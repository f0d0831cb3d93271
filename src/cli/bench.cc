// updraft bench: the article's protocol and beyond it, with the fraction of the read bandwidth measured in the same
// run.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/caches.h"
#include "base/error.h"
#include "base/new_file.h"
#include "base/system_memory.h"
#include "cli/bench_options.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "measure/bench_estimate.h"
#include "measure/compare.h"
#include "measure/local_target.h"
#include "measure/report.h"
#include "measure/run_record.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

measure::Language language_of(const BenchOptions& options) {
  const bool chinese = options.language.empty() ? environment().chinese : options.language == "zh";
  return chinese ? measure::Language::kChinese : measure::Language::kEnglish;
}

// The longest prompt of the protocol and its answer: all the KV cache that the tasks need.
int64_t task_kv_tokens(const BenchOptions& options) {
  return options.no_tasks ? 0 : 1024 + options.protocol.max_new_tokens;
}

constexpr int kMoreProbes = 3;

// Bandwidth 0: not measured, and nothing is a fraction of it. `may_stop`: an interruption ends the program here, for
// nothing is measured yet that would be lost.
compute::ReadBandwidth probe(const BenchOptions& options, bool may_stop) {
  if (options.no_probe) return {};
  ProgressBar bar;
  return compute::probe_read_bandwidth(options.model.threads, [&](const Progress& p) {
    bar.show(p);
    if (may_stop) stop_if_interrupted();
  });
}

// The largest of what was read by a decode step, beside the bandwidth that the fractions are of; 0: none is known.
double largest_fraction(const ordered_json& tasks, const ordered_json& sweep) {
  double largest = 0;
  for (const ordered_json* list : {&tasks, &sweep})
    for (const ordered_json& row : *list)
      if (const ordered_json fraction = row.value("bandwidth_fraction", ordered_json()); fraction.is_number())
        largest = std::max(largest, fraction.get<double>());
  return largest;
}

// Before anything that takes long; the bandwidth it needs is that of a second's look.
void announce_duration(const BenchOptions& options, const session::LoadOptions& load) {
  if (load.device != "cpu") {
    say_error("How long this takes with --device {} is not estimated.\n", load.device);
    return;
  }
  const measure::BenchWork work{options.no_tasks ? 0 : measure::task_count(options.protocol), options.protocol,
                                options.sweep, !options.no_probe};
  const session::MemoryPlan plan = session::plan_memory(load, 0);
  const int64_t quick_bytes = std::max(int64_t(256) << 20, 2 * last_level_cache_bytes());
  const compute::ReadBandwidth look = compute::probe_read_bandwidth(options.model.threads, {}, quick_bytes);
  say_error("This takes about {}: an estimate from {} of weights a step and a quick look at the memory ({}/s).\n",
            human_duration(std::max(1.0, measure::estimate_seconds(work, plan, look))),
            human_bytes(double(plan.streamed_bytes)), human_bytes(look.bytes_per_second));
}

ordered_json measure_model(const BenchOptions& options) {
  if (options.protocol.speculate && !options.model.synthetic.empty())
    fail("--speculate with --synthetic: how well guesses fit says nothing where the text means nothing");
  const ordered_json protocol = protocol_json(options);  // refuses a task that is not known
  session::LoadOptions load = options.model.load_options();
  load.speculate = options.protocol.speculate;
  load.prefix_reuse = false;
  load.kv_tokens = std::max(task_kv_tokens(options), measure::sweep_kv_tokens(options.sweep));
  load.max_sequences = 1;
  for (int64_t batch : options.sweep.batches) load.max_sequences = std::max(load.max_sequences, batch);
  for (int64_t rows : options.sweep.rows) load.max_sequences = std::max(load.max_sequences, rows);  // room for logits
  load.max_rows = std::max(load.max_rows, load.max_sequences);
  announce_duration(options, load);
  const compute::ReadBandwidth before = probe(options, true);
  const bool probe_counted = !reset_peak_resident();  // what was probed is not the model's
  const auto loaded = load_session(load, false);
  const int64_t own_context = loaded->checkpoint().config().max_context;
  if (const std::string longest = beyond_context(options.sweep, own_context); !longest.empty())
    say_error("Beyond the model's own context of {} tokens: {}. Only the speed means something there.\n", own_context,
              longest);

  ordered_json record = {{"schema", measure::kRunRecordSchema},
                         {"created", measure::utc_now()},
                         {"updraft", measure::build_facts()},
                         {"machine", measure::machine_facts()},
                         {"model", measure::model_facts(*loaded, load)},
                         {"numerics_key", loaded->engine().numerics_key()},
                         {"flags", flags_json(options)},
                         {"protocol", protocol}};
  ProgressBar bar;
  const auto show = [&](const Progress& p) { bar.show(p); };
  ordered_json tasks = ordered_json::array(), sweep = ordered_json::array();
  if (!options.no_tasks) {
    measure::LocalTarget target(*loaded, interrupted());
    tasks = measure::run_protocol(target, options.protocol, show, [] { return !interrupted(); });
  }
  if (has_sweep(options.sweep))
    sweep = measure::run_sweep(*loaded, options.sweep, before.bytes_per_second, show, interrupted());
  bar.finish();
  record["memory"] = measure::memory_facts(*loaded);
  record["memory"]["peak_includes_probe"] = probe_counted;
  compute::ReadBandwidth after = interrupted() ? before : probe(options, false);
  measure::add_bandwidth(*loaded, before.bytes_per_second, tasks);
  // Where decoding read more than that, another program held the probes up: they get more chances to see the machine.
  const double most = largest_fraction(tasks, sweep) * before.bytes_per_second;
  for (int i = 0; i < kMoreProbes && !interrupted() && most > std::max(before.bytes_per_second, after.bytes_per_second);
       ++i)
    if (const compute::ReadBandwidth again = probe(options, false); again.bytes_per_second > after.bytes_per_second)
      after = again;
  record["bandwidth"] = options.no_probe ? ordered_json(nullptr) : measure::bandwidth_facts(before, after);
  if (!options.no_probe && !interrupted())
    for (const compute::Peak& peak : compute::probe_peaks(loaded->engine().machine().info().threads))
      record["peaks"].push_back({{"name", peak.name}, {"unit", peak.unit}, {"per_second", peak.per_second}});
  // The record's fractions are of the best of them.
  const double best = std::max(before.bytes_per_second, after.bytes_per_second);
  for (ordered_json* list : {&tasks, &sweep})
    for (ordered_json& row : *list)
      if (row.contains("bandwidth_fraction") && row["bandwidth_fraction"].is_number())
        row["bandwidth_fraction"] = row["bandwidth_fraction"].get<double>() * before.bytes_per_second / best;
  record["complete"] = !interrupted();
  record["tasks"] = tasks;
  if (!tasks.empty()) record["average"] = measure::average_row(tasks);
  record["sweep"] = sweep;
  return record;
}

// The same tasks through a server's door. What only a session in this process can tell (bandwidth, memory, hashes of
// logits) is not in the record.
ordered_json measure_endpoint(const BenchOptions& options) {
  if (has_sweep(options.sweep) || options.no_tasks || options.protocol.speculate)
    fail(
        "--replay: this record cannot be run again: sweeps and speculation need a model in this process, not a server");
  OpenAiTarget target(options.against, interrupted());
  say_error("{} of {}\n", target.endpoint().model, target.endpoint().url);
  BenchOptions used = options;
  used.against.model = target.endpoint().model;
  ordered_json record = {{"schema", measure::kRunRecordSchema}, {"created", measure::utc_now()},
                         {"updraft", measure::build_facts()},   {"machine", measure::machine_facts()},
                         {"target", options.against.url},       {"model", {{"name", target.endpoint().model}}},
                         {"flags", flags_json(used)},           {"protocol", protocol_json(options)}};
  ProgressBar bar;
  const ordered_json tasks = measure::run_protocol(
      target, options.protocol, [&](const Progress& p) { bar.show(p); }, [] { return !interrupted(); });
  bar.finish();
  record["refused_fields"] = target.refused();
  record["tokens_counted_by"] = target.counted_pieces() ? "pieces" : "server";
  record["complete"] = !interrupted();
  record["tasks"] = tasks;
  if (!tasks.empty()) record["average"] = measure::average_row(tasks);
  record["sweep"] = ordered_json::array();
  return record;
}

constexpr auto kReplace = ordered_json::error_handler_t::replace;

std::string formatted(const ordered_json& record, const BenchOptions& options) {
  if (options.format == "json") return record.dump(2, ' ', false, kReplace) + "\n";
  if (options.format == "csv") return measure::csv_report(record);
  if (options.format == "markdown") return measure::markdown_report(record, language_of(options));
  if (options.format == "html") return measure::html_report(record, language_of(options));
  return measure::terminal_report(record, language_of(options));
}

void give_out_text(const std::string& text, const std::string& output) {
  if (output.empty())
    fmt::print("{}", text);
  else
    write_text_file(output, text);
}

void give_out(const ordered_json& record, const BenchOptions& options) {
  give_out_text(formatted(record, options), options.output);
  if (!options.html.empty()) write_text_file(options.html, measure::html_report(record, language_of(options)));
  if (!options.record.empty()) write_text_file(options.record, record.dump(2, ' ', false, kReplace) + "\n");
  std::fflush(stdout);  // the table stands whole before what follows it, also where both go to one file
  for (const std::string& path : {options.output, options.html, options.record})
    if (!path.empty()) say_error("wrote {}\n", path);
}

int exit_code_of(const measure::Comparison& comparison, double fail_below) {
  if (fail_below > 0 && measure::has_regression(comparison, fail_below)) {
    say_error("regression: B is slower than {} of A with 95 % confidence\n", fail_below);
    return kRegression;
  }
  return kSuccess;
}

int compare_files(const BenchOptions& options) {
  if (!options.output.empty()) refuse_unwritable(options.output);
  const ordered_json a = measure::read_run_record(options.compare[0]);
  const measure::Comparison comparison = measure::compare_records(a, measure::read_run_record(options.compare[1]));
  const std::string text = options.format == "json"
                               ? measure::comparison_json(comparison).dump(2, ' ', false, kReplace) + "\n"
                               : measure::comparison_text(comparison, language_of(options));
  give_out_text(text, options.output);
  if (!options.output.empty()) say_error("wrote {}\n", options.output);
  return exit_code_of(comparison, options.fail_below);
}

int compare_with_replayed(const ordered_json& replayed, const ordered_json& record, const BenchOptions& options) {
  const measure::Comparison comparison = measure::compare_records(replayed, record);
  // Where standard output is JSON, CSV, ... a table behind it would break it.
  const bool taken = options.format != "table" && options.output.empty();
  const std::string text = measure::comparison_text(comparison, language_of(options));
  if (taken)
    say_error("{}", text);
  else
    fmt::print("{}", text);
  return exit_code_of(comparison, options.fail_below);
}

// More than the machine can read: all probes were disturbed. The result is shown, and is an error.
void refuse_impossible(const ordered_json& record) {
  const double fraction =
      largest_fraction(record.value("tasks", ordered_json::array()), record.value("sweep", ordered_json::array()));
  if (fraction > 1)
    fail(
        "decoding read {:.2f} of the read bandwidth measured in this run, which cannot be: another program disturbed "
        "the probes before and after; run bench again on a quiet machine",
        fraction);
}

int run(const CLI::App& command, BenchOptions options) {
  if (!options.compare.empty()) return compare_files(options);
  ordered_json replayed;
  if (!options.replay.empty()) {
    replayed = measure::read_run_record(options.replay);
    restore(replayed, options);
  }
  apply_quick(command, options);
  for (const std::string& path : {options.output, options.html, options.record})
    if (!path.empty()) refuse_unwritable(path);
  if (options.real_fill) options.sweep.synthetic_fill = false;
  if (options.against.api_key.empty()) options.against.api_key = environment().openai_api_key;
  const ordered_json record = options.against.url.empty() ? measure_model(options) : measure_endpoint(options);
  give_out(record, options);
  if (interrupted()) return kInterrupted;
  refuse_impossible(record);
  return replayed.is_null() ? int(kSuccess) : compare_with_replayed(replayed, record, options);
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure a model: five tasks, sweeps, the fraction of the read bandwidth");
  BenchOptions& o = *options;
  o.model.add_to(*command, true);
  command->add_option("--warmup", o.protocol.warmup_runs, "Runs of each task that are not counted")
      ->capture_default_str()
      ->check(CLI::Range(kWarmupRuns.least, kWarmupRuns.most));
  command->add_option("--runs", o.protocol.timed_runs, "Timed runs of each task")
      ->capture_default_str()
      ->check(CLI::Range(kTimedRuns.least, kTimedRuns.most));
  command->add_option("--max-new-tokens", o.protocol.max_new_tokens, "New tokens of each run")
      ->capture_default_str()
      ->check(CLI::Range(kNewTokens.least, kNewTokens.most));
  command->add_flag("--stop-at-eos", o.protocol.stop_at_eos,
                    "Let end-of-sequence end a run, as the article did (default: never chosen)");
  command->add_flag("--quick", o.quick, "1 + 2 runs of 32 tokens, where no other flag says otherwise");
  command
      ->add_option("--tasks", o.protocol.tasks,
                   "Only these: chinese_qa, english_qa, code, logic, long_context; and edit, which "
                   "only runs when it is named")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--no-tasks", o.no_tasks, "Only the sweep");
  command->add_option("--prompt", o.sweep.prompts, "Sweep: prefill of so many tokens, e.g. 256,1024")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(kPromptTokens.least, kPromptTokens.most));
  command->add_option("--depth", o.sweep.depths, "Sweep: decode at these context depths, e.g. 0,4096")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(kDepth.least, kDepth.most));
  command->add_option("--batch", o.sweep.batches, "Sweep: sequences decoding together, e.g. 1,4,16")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(kSequences.least, kSequences.most));
  command->add_option("--rows", o.sweep.rows, "Sweep: time of one step of so many rows beside one row, e.g. 2,4,8,16")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(kRows.least, kRows.most));
  command->add_flag("--speculate,!--no-speculate", o.protocol.speculate,
                    "Run each task twice in turn, plain and speculating: what was proposed and accepted, and how much "
                    "faster (default: off; no fraction of the read bandwidth is given with it)");
  command->add_option("--sweep-tokens", o.sweep.decode_tokens, "Sweep: tokens of one decode sample")
      ->capture_default_str()
      ->check(CLI::Range(kNewTokens.least, kNewTokens.most));
  command->add_option("--sweep-samples", o.sweep.samples, "Sweep: samples of each point, after one uncounted")
      ->capture_default_str()
      ->check(CLI::Range(kSamples.least, kSamples.most));
  command->add_flag("--real-fill", o.real_fill,
                    "Sweep: compute the depth instead of filling its pages with seeded K and V");
  command->add_flag("--no-probe", o.no_probe,
                    "Do not measure the read bandwidth before and after, so no fraction of it is given");
  command->add_option("--format", o.format, "table, json, csv, markdown, html")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json", "csv", "markdown", "html"}));
  command->add_option("--output", o.output, "Write the formatted result to this file");
  command->add_option("--html", o.html, "Also write a self-contained HTML report");
  command->add_option("--record", o.record, "Also write the run record (JSON)");
  command->add_option("--lang", o.language, "Language of the report: en, zh (default: the system's)")
      ->check(CLI::IsMember({"en", "zh"}));
  command->add_option("--replay", o.replay, "Run what this record ran, and compare");
  command
      ->add_option("--compare", o.compare,
                   "Compare two run records: ratios with confidence intervals (as a table, or --format json)")
      ->expected(2);
  command->add_option("--fail-below", o.fail_below,
                      "With --compare or --replay: exit code 4 when B is slower than this ratio with 95 % confidence");
  command->add_option("--against", o.against.url,
                      "Measure an OpenAI-compatible server instead: http://host:port, .../v1");
  command->add_option("--model", o.against.model, "With --against: the server's name of the model");
  command->add_option("--api-key", o.against.api_key, "With --against: its key (default: OPENAI_API_KEY)");
  command->footer(
      "Examples:\n  updraft bench ./Mistral-7B-Instruct-v0.2 --html report.html\n"
      "  updraft bench --synthetic mistral-7b --dtype bf16 --no-tasks --prompt 256 --depth 0,4096 --batch 1,4\n"
      "  updraft bench ./model --speculate --tasks edit --runs 10\n"
      "  updraft bench --synthetic mistral-7b:layers=4 --no-tasks --rows 2,4,8,16\n"
      "  updraft bench ./model --record a.json; updraft bench --replay a.json --fail-below 0.95\n"
      "  updraft bench --against http://localhost:8000/v1 --model mistral --record server.json");
  // In place of ModelOptions' own: what is refused is refused before a model is pulled.
  command->parse_complete_callback([options, command] {
    measure::SweepOptions& sweep = options->sweep;
    if (command->count("--depth") > 0 && sweep.batches.empty() && sweep.rows.empty()) sweep.batches = {1};
    check_usage(*command, *options);
    options->model.resolve();
  });
  command->callback([options, command, &exit_code] { exit_code = run(*command, *options); });
}

}  // namespace updraft::cli
