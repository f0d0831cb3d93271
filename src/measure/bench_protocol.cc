#include "measure/bench_protocol.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "measure/statistics.h"
#include "measure/tasks.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

std::vector<Task> chosen_tasks(const Protocol& protocol) {
  std::vector<Task> chosen;
  for (const Task& task : protocol.tasks.empty() ? article_tasks() : all_tasks())
    if (protocol.tasks.empty() ||
        std::find(protocol.tasks.begin(), protocol.tasks.end(), task.id) != protocol.tasks.end())
      chosen.push_back(task);
  for (const std::string& id : protocol.tasks) {
    std::vector<std::string_view> known;
    for (const Task& task : all_tasks()) known.push_back(task.id);
    if (std::find(known.begin(), known.end(), id) == known.end())
      fail("--tasks {}: there is no such task; known are {}", id, fmt::join(known, ", "));
  }
  return chosen;
}

ordered_json task_json(const Task& task, const std::vector<TaskRun>& runs) {
  std::vector<double> latency, first, gaps, per_second, prefill, decode;
  ordered_json samples = ordered_json::array();
  for (const TaskRun& run : runs) {
    latency.push_back(run.latency_s);
    per_second.push_back(double(run.new_tokens) / run.latency_s);
    const std::vector<double>& times = run.token_times_s;
    if (!times.empty()) {
      first.push_back(times.front());
      if (times.front() > 0 && run.prompt_tokens > 0) prefill.push_back(double(run.prompt_tokens) / times.front());
      if (times.size() > 1) decode.push_back(double(run.new_tokens - 1) / (times.back() - times.front()));
      for (size_t i = 1; i < times.size(); ++i) gaps.push_back(times[i] - times[i - 1]);
    }
    samples.push_back({{"latency_s", run.latency_s}, {"new_tokens", run.new_tokens}, {"token_times_s", times}});
  }
  const TaskRun& last = runs.back();
  const Summary rates = summarize(per_second);
  const auto median_or_null = [](const std::vector<double>& x) {
    return x.empty() ? ordered_json(nullptr) : ordered_json(summarize(x).median);
  };
  const auto gap = [&](double share) {
    return gaps.empty() ? ordered_json(nullptr) : ordered_json(percentile(gaps, share));
  };
  return {{"id", task.id},
          {"name", task.english},
          {"name_zh", task.chinese},
          {"prompt_tokens", last.prompt_tokens > 0 ? ordered_json(last.prompt_tokens) : ordered_json(nullptr)},
          {"new_tokens", last.new_tokens},
          {"finish_reason", last.finish_reason},
          {"latency_s", summary_json(latency)},
          {"tokens_per_second", rates.mean},
          {"tokens_per_second_summary", summary_json(per_second)},
          {"time_to_first_token_s", summary_json(first)},
          {"prefill_tokens_per_second", median_or_null(prefill)},
          {"decode_tokens_per_second", median_or_null(decode)},
          {"inter_token_latency_s", {{"p50", gap(0.50)}, {"p95", gap(0.95)}, {"p99", gap(0.99)}}},
          {"text", last.text},
          {"samples", samples}};
}

// The same run without speculation: its time, and proof that nothing else differs.
double plain_latency(Target& target, const Task& task, const Protocol& protocol, const TaskRun& speculating) {
  Protocol plainly = protocol;
  plainly.speculate = false;
  const TaskRun plain = target.run(std::string(task.prompt), plainly);
  if (plain.ids != speculating.ids && plain.finish_reason == speculating.finish_reason)
    fail("{}: speculation changed the answer, which the law of the house forbids; please report it", task.id);
  return plain.latency_s;
}

ordered_json speculation_json(const std::vector<TaskRun>& runs, const std::vector<double>& plain_latency) {
  std::vector<double> speedup;
  for (size_t i = 0; i < runs.size(); ++i) speedup.push_back(plain_latency[i] / runs[i].latency_s);
  const TaskRun& last = runs.back();
  return {{"proposed", last.proposed},
          {"accepted", last.accepted},
          {"tokens_per_step", last.steps > 0 ? double(last.new_tokens) / double(last.steps) : 0},
          {"plain_latency_s", summary_json(plain_latency)},
          {"speedup", summarize(speedup).median},
          {"plain_samples_s", plain_latency}};
}

}  // namespace

ordered_json summary_json(const std::vector<double>& samples) {
  const Summary s = summarize(samples);
  ordered_json interval;
  if (s.confidence_95) interval = {std::max(0.0, s.confidence_95->low), s.confidence_95->high};
  return {{"mean", s.mean},
          {"median", s.median},
          {"min", s.minimum},
          {"max", s.maximum},
          {"standard_deviation", s.standard_deviation},
          {"confidence_95", interval}};
}

int task_count(const Protocol& protocol) { return int(chosen_tasks(protocol).size()); }

std::string prompts_hash(const Protocol& protocol) {
  Hash64 hash;
  for (const Task& task : chosen_tasks(protocol)) hash.add(task.prompt);
  return fmt::format("{:016x}", hash.value());
}

ordered_json run_protocol(Target& target, const Protocol& protocol, const ProgressCallback& progress,
                          const std::function<bool()>& keep_going) {
  const std::vector<Task> tasks = chosen_tasks(protocol);
  Progress report{"", 0, int64_t(tasks.size()) * (protocol.warmup_runs + protocol.timed_runs), "runs"};
  ordered_json results = ordered_json::array();
  for (const Task& task : tasks) {
    report.what = fmt::format("bench: {}", task.english);
    std::vector<TaskRun> timed;
    std::vector<double> plain;
    for (int i = 0; i < protocol.warmup_runs + protocol.timed_runs; ++i) {
      if (!keep_going()) return results;
      if (progress) progress(report);
      TaskRun run = target.run(std::string(task.prompt), protocol);
      if (protocol.speculate && keep_going()) {
        const double latency = plain_latency(target, task, protocol, run);
        if (i >= protocol.warmup_runs) plain.push_back(latency);
      }
      if (i >= protocol.warmup_runs) timed.push_back(std::move(run));
      ++report.done;
    }
    if (!keep_going()) return results;
    results.push_back(task_json(task, timed));
    if (protocol.speculate) results.back()["speculation"] = speculation_json(timed, plain);
  }
  return results;
}

ordered_json average_row(const ordered_json& tasks) {
  std::vector<double> latency, rates, first, prefill, decode, fraction, tokens_per_step, speedup;
  const auto collect = [](const ordered_json& task, const char* key, std::vector<double>& into) {
    if (task.contains(key) && task[key].is_number()) into.push_back(task[key].get<double>());
  };
  for (const ordered_json& task : tasks) {
    latency.push_back(task["latency_s"]["mean"].get<double>());
    first.push_back(task["time_to_first_token_s"]["median"].get<double>());
    collect(task, "tokens_per_second", rates);
    collect(task, "prefill_tokens_per_second", prefill);
    collect(task, "decode_tokens_per_second", decode);
    collect(task, "bandwidth_fraction", fraction);
    if (!task.contains("speculation")) continue;
    collect(task["speculation"], "tokens_per_step", tokens_per_step);
    collect(task["speculation"], "speedup", speedup);
  }
  const auto mean_or_null = [](const std::vector<double>& x) {
    return x.empty() ? ordered_json(nullptr) : ordered_json(summarize(x).mean);
  };
  ordered_json row = {{"latency_s", mean_or_null(latency)},
                      {"tokens_per_second", mean_or_null(rates)},
                      {"time_to_first_token_s", mean_or_null(first)},
                      {"prefill_tokens_per_second", mean_or_null(prefill)},
                      {"decode_tokens_per_second", mean_or_null(decode)},
                      {"bandwidth_fraction", mean_or_null(fraction)}};
  if (!speedup.empty())
    row["speculation"] = {{"tokens_per_step", mean_or_null(tokens_per_step)}, {"speedup", summarize(speedup).median}};
  return row;
}

}  // namespace updraft::measure
