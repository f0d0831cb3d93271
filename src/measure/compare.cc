#include "measure/compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "measure/report_rows.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

const ordered_json& list_of(const ordered_json& record, const char* key) {
  static const ordered_json kNone = ordered_json::array();
  return record.contains(key) && record[key].is_array() ? record[key] : kNone;
}

std::string text_at(const ordered_json& record, const char* group, const char* key, const char* missing) {
  const ordered_json outer = record.value(group, ordered_json::object());
  return outer.is_object() && outer.contains(key) ? outer[key].dump() : missing;
}

void note(const ordered_json& a, const ordered_json& b, const char* group, const char* key, const char* missing,
          std::vector<std::string>& differences) {
  const std::string x = text_at(a, group, key, missing), y = text_at(b, group, key, missing);
  if (x != y) differences.push_back(fmt::format("{}.{}: {} / {}", group, key, x, y));
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

struct FigureName {
  std::string english, chinese;
};

void add_figure(Comparison& out, const FigureName& name, const std::vector<double>& a, const std::vector<double>& b) {
  if (a.empty() || b.empty()) return;
  const Ratio r = ratio_of_means(b, a);
  out.figures.push_back({name.english, name.chinese, summarize(a).mean, summarize(b).mean, r.ratio, r.confidence_95});
}

std::vector<double> sweep_rates(const ordered_json& point) {
  const std::string kind = point.value("kind", "");
  const double tokens = point.value(kind == "prefill" ? "prompt_tokens" : kind == "rows" ? "rows" : "batch", 0.0);
  std::vector<double> rates;
  for (double seconds : point.value("samples_s", std::vector<double>()))
    if (seconds > 0) rates.push_back(tokens / seconds);
  return rates;
}

FigureName sweep_name(const ordered_json& point) {
  const std::string kind = point.value("kind", "");
  const double depth = point.value("depth", 0.0);  // a foreign record may hold what no integer does
  if (kind == "prefill") {
    const double tokens = point.value("prompt_tokens", 0.0);
    return {fmt::format("prefill of {:.0f} tokens", tokens), fmt::format("预填充 {:.0f} 个词元", tokens)};
  }
  if (kind == "rows") {
    const double rows = point.value("rows", 0.0);
    return {fmt::format("steps of {:.0f} rows at depth {:.0f}", rows, depth),
            fmt::format("单步 {:.0f} 行, 深度 {:.0f}", rows, depth)};
  }
  const double batch = point.value("batch", 0.0);
  return {fmt::format("decode at depth {:.0f}, batch {:.0f}", depth, batch),
          fmt::format("解码, 深度 {:.0f}, 批大小 {:.0f}", depth, batch)};
}

FigureName verdict_of(const ComparedFigure& figure) {
  if (!figure.confidence_95) return {"one sample", "仅一个样本"};
  if (figure.confidence_95->low > 1) return {"faster", "更快"};
  if (figure.confidence_95->high < 1) return {"slower", "更慢"};
  return {"no difference shown", "未显示差异"};
}

Comparison compare(const ordered_json& a, const ordered_json& b) {
  Comparison out;
  const auto compare_keys = [&](const char* group, std::initializer_list<const char*> keys) {
    for (const char* key : keys) note(a, b, group, key, "null", out.differences);
  };
  compare_keys("model", {"name", "hash", "dtype", "kv_dtype", "instruction_set", "activations", "threads"});
  compare_keys("machine", {"processor", "processors"});
  compare_keys("updraft", {"version", "compiler"});
  compare_keys("protocol", {"prompts_hash", "max_new_tokens", "stop_at_eos"});
  note(a, b, "protocol", "speculate", "false", out.differences);  // records of earlier versions decoded plainly
  if (!list_of(a, "sweep").empty() && !list_of(b, "sweep").empty())
    for (const char* key : {"decode_tokens", "samples"})
      note(a.value("protocol", ordered_json::object()), b.value("protocol", ordered_json::object()), "sweep", key,
           "null", out.differences);
  for (const ordered_json& task_a : list_of(a, "tasks"))
    for (const ordered_json& task_b : list_of(b, "tasks")) {
      if (task_a.value("id", "") != task_b.value("id", "-")) continue;
      std::vector<double> whole_a, whole_b, decode_a, decode_b;
      task_rates(task_a, whole_a, decode_a);
      task_rates(task_b, whole_b, decode_b);
      const std::string id = task_a.value("id", "");
      const std::string zh = task_a.value("name_zh", id);
      add_figure(out, {id + ": tokens/s", zh + ": tok/s"}, whole_a, whole_b);
      add_figure(out, {id + ": decode tokens/s", zh + ": 解码 tok/s"}, decode_a, decode_b);
      if (task_a.value("logits_hash", "") != task_b.value("logits_hash", ""))
        out.differences.push_back(fmt::format("{}: logits_hash {} / {}", id, task_a.value("logits_hash", "-"),
                                              task_b.value("logits_hash", "-")));
    }
  for (const ordered_json& point_a : list_of(a, "sweep"))
    for (const ordered_json& point_b : list_of(b, "sweep")) {
      const FigureName name = sweep_name(point_a);
      if (name.english != sweep_name(point_b).english || point_a.value("kind", "") != point_b.value("kind", "-"))
        continue;
      add_figure(out, {name.english + ": tokens/s", name.chinese + ": tok/s"}, sweep_rates(point_a),
                 sweep_rates(point_b));
      const std::string fill_a = point_a.value("depth_fill", ""), fill_b = point_b.value("depth_fill", "");
      if (fill_a != fill_b)
        out.differences.push_back(fmt::format("{}: depth_fill {} / {}", name.english, fill_a, fill_b));
    }
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

std::string comparison_text(const Comparison& comparison, Language language) {
  const bool chinese = language == Language::kChinese;
  const auto say = [&](const char* en, const char* zh) { return chinese ? zh : en; };
  TableText table;
  table.header = {"", "A", "B", "B / A", say("95 % interval", "95 % 区间"), ""};
  bool unproven = false;
  for (const ComparedFigure& f : comparison.figures) {
    unproven = unproven || !f.confidence_95;
    table.rows.push_back(
        {chinese ? f.what_zh : f.what, fmt::format("{:.3f}", f.a), fmt::format("{:.3f}", f.b),
         fmt::format("{:.3f}", f.ratio),
         f.confidence_95 ? fmt::format("{:.3f} {} {:.3f}", f.confidence_95->low, say("to", "至"), f.confidence_95->high)
                         : "-",
         chinese ? verdict_of(f).chinese : verdict_of(f).english});
  }
  std::string out = text_table(table);
  if (unproven)
    out +=
        say("Where A or B is one sample there is no interval, so no regression is proven: measure at least 2 (--runs, "
            "--sweep-samples).\n\n",
            "A 或 B 仅有一个样本时没有置信区间, 不能证明性能回退: 请至少测量 2 次 (--runs、--sweep-samples)。\n\n");
  if (!comparison.differences.empty()) out += say("Not the same in both:\n", "两者不同之处:\n");
  for (const std::string& difference : comparison.differences) out += "  " + difference + "\n";
  return without_controls(out);
}

ordered_json comparison_json(const Comparison& comparison) {
  ordered_json figures = ordered_json::array();
  for (const ComparedFigure& f : comparison.figures) {
    ordered_json interval;
    if (f.confidence_95) interval = {f.confidence_95->low, f.confidence_95->high};
    figures.push_back({{"what", f.what},
                       {"a", f.a},
                       {"b", f.b},
                       {"ratio", f.ratio},
                       {"confidence_95", interval},
                       {"verdict", verdict_of(f).english}});
  }
  return {{"figures", figures}, {"differences", comparison.differences}};
}

bool has_regression(const Comparison& comparison, double threshold) {
  return std::any_of(comparison.figures.begin(), comparison.figures.end(),
                     [&](const ComparedFigure& f) { return f.confidence_95 && f.confidence_95->high < threshold; });
}

}  // namespace updraft::measure
