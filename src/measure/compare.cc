#include "measure/compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "measure/statistics.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

const ordered_json& list_of(const ordered_json& record, const char* key) {
  static const ordered_json kNone = ordered_json::array();
  return record.contains(key) && record[key].is_array() ? record[key] : kNone;
}

std::string text_at(const ordered_json& record, const char* group, const char* key) {
  const ordered_json outer = record.value(group, ordered_json::object());
  return outer.is_object() && outer.contains(key) ? outer[key].dump() : "null";
}

// Tokens per second of each timed run: over the whole run, and of decoding alone.
void task_rates(const ordered_json& task, std::vector<double>& whole, std::vector<double>& decode) {
  for (const ordered_json& sample : list_of(task, "samples")) {
    const double latency = sample.value("latency_s", 0.0), made = sample.value("new_tokens", 0.0);
    if (latency > 0) whole.push_back(made / latency);
    const auto times = sample.value("token_times_s", std::vector<double>());
    if (times.size() > 1 && times.back() > times.front()) decode.push_back((made - 1) / (times.back() - times.front()));
  }
}

void add_figure(Comparison& out, std::string what, const std::vector<double>& a, const std::vector<double>& b) {
  if (a.empty() || b.empty()) return;
  const Ratio r = ratio_of_means(b, a);
  out.figures.push_back({std::move(what), summarize(a).mean, summarize(b).mean, r.ratio, r.low_95, r.high_95});
}

std::vector<double> sweep_rates(const ordered_json& point) {
  const std::string kind = point.value("kind", "");
  const double tokens = point.value(kind == "prefill" ? "prompt_tokens" : kind == "rows" ? "rows" : "batch", 0.0);
  std::vector<double> rates;
  for (double seconds : point.value("samples_s", std::vector<double>()))
    if (seconds > 0) rates.push_back(tokens / seconds);
  return rates;
}

std::string sweep_name(const ordered_json& point) {
  if (point.value("kind", "") == "prefill") return fmt::format("prefill of {} tokens", point.value("prompt_tokens", 0));
  if (point.value("kind", "") == "rows")
    return fmt::format("steps of {} rows at depth {}", point.value("rows", 0), point.value("depth", 0));
  return fmt::format("decode at depth {}, batch {}", point.value("depth", 0), point.value("batch", 0));
}

Comparison compare(const ordered_json& a, const ordered_json& b) {
  Comparison out;
  const auto note = [&](const char* group, const char* key) {
    const std::string x = text_at(a, group, key), y = text_at(b, group, key);
    if (x != y) out.differences.push_back(fmt::format("{}.{}: {} / {}", group, key, x, y));
  };
  for (const char* key : {"name", "hash", "dtype", "kv_dtype", "instruction_set", "activations", "threads"})
    note("model", key);
  for (const char* key : {"processor", "processors"}) note("machine", key);
  for (const char* key : {"version", "compiler"}) note("updraft", key);
  for (const char* key : {"prompts_hash", "max_new_tokens", "stop_at_eos"}) note("protocol", key);
  for (const ordered_json& task_a : list_of(a, "tasks"))
    for (const ordered_json& task_b : list_of(b, "tasks")) {
      if (task_a.value("id", "") != task_b.value("id", "-")) continue;
      std::vector<double> whole_a, whole_b, decode_a, decode_b;
      task_rates(task_a, whole_a, decode_a);
      task_rates(task_b, whole_b, decode_b);
      const std::string id = task_a.value("id", "");
      add_figure(out, id + ": tokens/s", whole_a, whole_b);
      add_figure(out, id + ": decode tokens/s", decode_a, decode_b);
      if (task_a.value("logits_hash", "") != task_b.value("logits_hash", ""))
        out.differences.push_back(fmt::format("{}: logits_hash {} / {}", id, task_a.value("logits_hash", "-"),
                                              task_b.value("logits_hash", "-")));
    }
  for (const ordered_json& point_a : list_of(a, "sweep"))
    for (const ordered_json& point_b : list_of(b, "sweep"))
      if (sweep_name(point_a) == sweep_name(point_b) && point_a.value("kind", "") == point_b.value("kind", "-"))
        add_figure(out, sweep_name(point_a) + ": tokens/s", sweep_rates(point_a), sweep_rates(point_b));
  return out;
}

}  // namespace

Comparison compare_records(const ordered_json& a, const ordered_json& b) {
  Comparison out;
  try {
    out = compare(a, b);
  } catch (const ordered_json::exception& e) {
    fail("a run record to compare is damaged: {}", e.what());
  }
  if (out.figures.empty()) fail("these two run records measured nothing in common");
  return out;
}

std::string comparison_text(const Comparison& comparison) {
  size_t width = 0;
  for (const ComparedFigure& f : comparison.figures) width = std::max(width, f.what.size());
  std::string out = fmt::format("{:<{}}  {:>10}  {:>10}  {:>7}  {}\n", "", width, "A", "B", "B / A", "95 % interval");
  for (const ComparedFigure& f : comparison.figures) {
    const char* verdict = f.low_95 > 1 ? "faster" : f.high_95 < 1 ? "slower" : "no difference shown";
    out += fmt::format("{:<{}}  {:>10.3f}  {:>10.3f}  {:>7.3f}  {:.3f} to {:.3f}  {}\n", f.what, width, f.a, f.b,
                       f.ratio, f.low_95, f.high_95, verdict);
  }
  if (!comparison.differences.empty()) out += "\nNot the same in both:\n";
  for (const std::string& difference : comparison.differences) out += "  " + difference + "\n";
  return out;
}

bool has_regression(const Comparison& comparison, double threshold) {
  return std::any_of(comparison.figures.begin(), comparison.figures.end(),
                     [&](const ComparedFigure& f) { return f.high_95 < threshold; });
}

}  // namespace updraft::measure
