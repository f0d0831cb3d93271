// The HTML drawing of a run record: one file, no network, no script: tables and SVG charts (tokens per second of each
// task, where each phase stands under the roofline, how the time between tokens is distributed).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "measure/report_rows.h"
#include "measure/roofline.h"
#include "measure/statistics.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

constexpr const char* kStyle = R"(
:root { --ink:#1c2430; --soft:#5b6777; --line:#dde3ea; --paper:#fff; --panel:#f6f8fa; --accent:#1769aa; --second:#e07b1a; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6ebf1; --soft:#9aa7b5; --line:#343d48; --paper:#14181d; --panel:#1c2229; --accent:#5aa9e6; --second:#f2a65a; } }
body { font:15px/1.55 system-ui,-apple-system,"Segoe UI","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif; color:var(--ink); background:var(--paper); max-width:1200px; margin:2rem auto; padding:0 1rem; }
h1 { font-size:1.6rem; margin:0 0 .3rem; } h2 { font-size:1.1rem; margin:2rem 0 .6rem; }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; } .scroll { overflow-x:auto; }
th,td { padding:.35rem .6rem; border-bottom:1px solid var(--line); text-align:right; white-space:nowrap; } th { color:var(--soft); font-weight:600; white-space:normal; vertical-align:bottom; }
th:first-child,td:first-child { text-align:left; } tr.total td { font-weight:700; border-top:2px solid var(--soft); }
.facts td { text-align:left; white-space:normal; } .facts td:first-child { color:var(--soft); width:11rem; }
.note { border-left:4px solid var(--second); background:var(--panel); padding:.5rem .9rem; margin:.8rem 0; }
.caption { color:var(--soft); margin:1rem 0 .3rem; }
details { background:var(--panel); padding:.6rem 1rem; margin:.4rem 0; border-radius:6px; } summary { cursor:pointer; } pre { white-space:pre-wrap; font:inherit; }
svg { width:100%; height:auto; } svg text { fill:var(--ink); font-size:13px; } svg .soft { fill:var(--soft); } svg .grid { stroke:var(--line); }
)";

std::string draw_table(const TableText& table) {
  if (table.rows.empty()) return "";
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string& title : table.header) out += "<th>" + escaped(title) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    out += table.last_row_is_total && i + 1 == table.rows.size() ? "<tr class=\"total\">" : "<tr>";
    for (const std::string& text : table.rows[i]) out += "<td>" + escaped(text) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

struct Bar {
  std::string label, text;
  double value = 0, low = 0, high = 0;  // low == high: no interval is drawn
};

// Horizontal bars from zero, each with its value and its 95 % interval.
std::string bar_chart(const std::vector<Bar>& bars) {
  double most = 0;
  for (const Bar& bar : bars) most = std::max({most, bar.value, bar.high});
  if (most <= 0) return "";
  constexpr double kLeft = 170, kWidth = 640, kStep = 34;
  std::string out = fmt::format("<svg viewBox=\"0 0 960 {}\" role=\"img\">\n", kStep * double(bars.size()) + 8);
  double y = 4;
  for (const Bar& bar : bars) {
    const double width = bar.value / most * kWidth;
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", kLeft - 10, y + 19, escaped(bar.label));
    out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"24\" rx=\"3\" fill=\"var(--accent)\"/>",
                       kLeft, y + 2, width);
    if (bar.high > bar.low)
      out += fmt::format(
          "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\" stroke=\"var(--second)\" stroke-width=\"3\"/>",
          kLeft + bar.low / most * kWidth, kLeft + bar.high / most * kWidth, y + 14, y + 14);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{}\">{}</text>\n", kLeft + std::max(width, bar.high / most * kWidth) + 8,
                       y + 19, escaped(bar.text));
    y += kStep;
  }
  return out + "</svg>\n";
}

std::string task_chart(const ordered_json& record, Language language) {
  std::vector<Bar> bars;
  for (const ordered_json& task : record.value("tasks", ordered_json::array())) {
    Bar bar{task.value(language == Language::kChinese ? "name_zh" : "name", ""), "",
            number_at(task, "tokens_per_second")};
    const ordered_json summary = task.value("tokens_per_second_summary", ordered_json::object());
    if (summary.contains("confidence_95") && summary["confidence_95"].is_array())
      bar.low = std::max(0.0, summary["confidence_95"][0].get<double>()), bar.high = summary["confidence_95"][1];
    bar.text = fmt::format("{:.2f} tok/s", bar.value);
    bars.push_back(std::move(bar));
  }
  const std::string chart = bar_chart(bars);
  if (chart.empty()) return "";
  return fmt::format("<p class=\"caption\">{}</p>\n{}",
                     language == Language::kChinese ? "每秒词元数; 橙色: 95 % 置信区间"
                                                    : "Tokens per second; orange: 95 % confidence interval",
                     chart);
}

std::string roofline_chart(const ordered_json& record, Language language) {
  const auto [bandwidth, peak, unit, points] = roofline(record, language);
  if (bandwidth <= 0 || points.empty()) return "";
  double low_x = points.front().intensity, high_x = low_x, high_y = peak, low_y = points.front().speed;
  for (const RooflinePoint& p : points) {
    low_x = std::min(low_x, p.intensity), high_x = std::max(high_x, p.intensity);
    low_y = std::min(low_y, p.speed), high_y = std::max(high_y, p.speed);
  }
  if (peak > 0) high_x = std::max(high_x, peak / bandwidth * 2);
  low_x /= 2, high_x *= 2, low_y = std::min(low_y, low_x * bandwidth) / 1.5, high_y *= 2;
  constexpr double kLeft = 90, kTop = 12, kWidth = 830, kHeight = 300;
  const auto x = [&](double v) { return kLeft + std::log(v / low_x) / std::log(high_x / low_x) * kWidth; };
  const auto y = [&](double v) { return kTop + kHeight - std::log(v / low_y) / std::log(high_y / low_y) * kHeight; };
  std::string out = "<svg viewBox=\"0 0 960 370\" role=\"img\">\n";
  const auto exponent = [](double v) { return int(std::ceil(std::log10(v))); };  // of the power of ten from there on
  for (int e = exponent(low_y); std::pow(10, e) <= high_y; ++e) {
    const double v = std::pow(10, e);
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/><text class=\"soft\" x=\"{3}\" "
        "y=\"{4:.1f}\" text-anchor=\"end\">{5:g} G{6}/s</text>\n",
        kLeft, kLeft + kWidth, y(v), kLeft - 6, y(v) + 4, v / 1e9, unit);
  }
  for (int e = exponent(low_x); std::pow(10, e) <= high_x; ++e) {
    const double v = std::pow(10, e);
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text class=\"soft\" x=\"{0:.1f}\" "
        "y=\"{3}\" text-anchor=\"middle\">{4:g} {5}/B</text>\n",
        x(v), kTop, kTop + kHeight, kTop + kHeight + 18, v, unit);
  }
  const double ridge = peak > 0 ? std::min(peak / bandwidth, high_x) : std::min(high_x, high_y / bandwidth);
  const double first = std::max(low_x, low_y / bandwidth);
  out += fmt::format(
      "<polyline fill=\"none\" stroke=\"var(--second)\" stroke-width=\"2.5\" points=\"{:.1f},{:.1f} {:.1f},{:.1f}",
      x(first), y(first * bandwidth), x(ridge), y(ridge * bandwidth));
  if (peak > 0) out += fmt::format(" {:.1f},{:.1f}", x(high_x), y(peak));
  out += "\"/>\n";
  std::vector<std::pair<double, double>> labels;  // where one stands already: the next moves down
  for (const RooflinePoint& p : points) {
    constexpr double kLabelWidth = 130, kLabelHeight = 15;
    const bool at_left = x(p.intensity) > kLeft + kWidth - kLabelWidth;
    const double label_x = x(p.intensity) + (at_left ? -10 : 10);
    double label_y = y(p.speed) + 4;
    const auto taken = [&](const auto& other) {
      return std::abs(other.first - label_x) < kLabelWidth && std::abs(other.second - label_y) < kLabelHeight;
    };
    while (std::any_of(labels.begin(), labels.end(), taken)) label_y += kLabelHeight;
    labels.emplace_back(label_x, label_y);
    out += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"6\" fill=\"var(--accent)\"/><text x=\"{:.1f}\" y=\"{:.1f}\" "
        "text-anchor=\"{}\">{}</text>\n",
        x(p.intensity), y(p.speed), label_x, label_y, at_left ? "end" : "start", escaped(p.label));
  }
  return out + "</svg>\n";
}

// Times between tokens of every timed run, in 40 bins up to their 99.5th percentile.
std::string gap_chart(const ordered_json& record, Language language) {
  std::vector<double> gaps;
  for (const ordered_json& task : record.value("tasks", ordered_json::array()))
    for (const ordered_json& sample : task.value("samples", ordered_json::array())) {
      const auto times = sample.value("token_times_s", std::vector<double>());
      for (size_t i = 1; i < times.size(); ++i) gaps.push_back((times[i] - times[i - 1]) * 1e3);
    }
  if (gaps.size() < 2) return "";
  const double low = percentile(gaps, 0), high = std::max(percentile(gaps, 0.995), low * 1.0001 + 1e-9);
  constexpr int kBins = 40;
  std::vector<int> counts(kBins);
  for (double gap : gaps)
    if (gap <= high) ++counts[size_t(std::min(kBins - 1, int((gap - low) / (high - low) * kBins)))];
  const int most = *std::max_element(counts.begin(), counts.end());
  constexpr double kLeft = 40, kWidth = 880, kHeight = 180;
  std::string out = "<svg viewBox=\"0 0 960 230\" role=\"img\">\n";
  for (int i = 0; i < kBins; ++i) {
    const double height = most > 0 ? double(counts[size_t(i)]) / most * kHeight : 0;
    out += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"var(--accent)\"/>",
                       kLeft + i * kWidth / kBins, 190 - height, kWidth / kBins - 2, height);
  }
  int line = 0;  // the two may lie close together: their texts stand on lines of their own
  for (const auto& [share, name] : {std::pair{0.5, "p50"}, std::pair{0.95, "p95"}}) {
    const double at = kLeft + std::clamp((percentile(gaps, share) - low) / (high - low), 0.0, 1.0) * kWidth;
    out += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"6\" y2=\"190\" stroke=\"var(--second)\" stroke-width=\"2\"/><text "
        "x=\"{1:.1f}\" y=\"{4}\">{2} {3:.2f} ms</text>",
        at, at + 5, name, percentile(gaps, share), 16 + 16 * line++);
  }
  out += fmt::format(
      "<text class=\"soft\" x=\"{}\" y=\"212\">{:.2f} ms</text><text class=\"soft\" x=\"{}\" y=\"212\" "
      "text-anchor=\"end\">{:.2f} ms</text>",
      kLeft, low, kLeft + kWidth, high);
  out += fmt::format("<text class=\"soft\" x=\"480\" y=\"226\" text-anchor=\"middle\">{} {}</text></svg>\n",
                     gaps.size(), language == Language::kChinese ? "个间隔" : "gaps");
  return out;
}

std::string section(const std::string& title, const std::string& body) {
  return body.empty() ? "" : "<h2>" + escaped(title) + "</h2>\n" + body;
}

}  // namespace

std::string html_report(const ordered_json& record, Language language) {
  const bool chinese = language == Language::kChinese;
  const auto say = [&](const char* en, const char* zh) { return std::string(chinese ? zh : en); };
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{}</style></head><body>\n",
      chinese ? "zh-CN" : "en", say("Updraft benchmark", "Updraft 基准测试"), kStyle);
  out += fmt::format("<h1>{}</h1>\n<p style=\"color:var(--soft)\">{} · {}</p>\n",
                     say("Updraft benchmark", "Updraft 基准测试"), escaped(record.value("created", "")),
                     escaped("updraft " + record.value("updraft", ordered_json::object()).value("version", "")));
  for (const std::string& warning : warnings(record, language))
    out += "<div class=\"note\">" + escaped(warning) + "</div>\n";
  out += "<table class=\"facts\"><tbody>\n";
  for (const auto& [name, value] : fact_rows(record, language))
    out += "<tr><td>" + escaped(name) + "</td><td>" + escaped(value) + "</td></tr>\n";
  out += "</tbody></table>\n";
  out += section(say("Tasks", "任务"), draw_table(task_table(record, language)) + task_chart(record, language));
  out += section(say("Prefill over prompt length", "预填充与提示长度"), draw_table(prefill_table(record, language)));
  out += section(say("Decode over depth and batch", "解码与上下文深度、批大小"),
                 draw_table(decode_table(record, language)));
  out += section(say("Time of a step over its rows", "单步时间与行数"), draw_table(rows_table(record, language)));
  out += section(say("Roofline (orange: what this machine was measured to do)", "屋顶线 (橙色: 本机实测上限)"),
                 roofline_chart(record, language));
  out += section(say("Time between tokens", "词元间隔分布"), gap_chart(record, language));
  std::string examples;
  for (const ordered_json& task : record.value("tasks", ordered_json::array()))
    examples += fmt::format("<details><summary>{}</summary><pre>{}</pre></details>\n",
                            escaped(task.value(chinese ? "name_zh" : "name", "")), escaped(task.value("text", "")));
  out += section(say("Generated text", "生成示例"), examples);
  out +=
      section(say("Run record", "运行记录"),
              "<details><summary>JSON</summary><pre>" +
                  escaped(record.dump(1, ' ', false, ordered_json::error_handler_t::replace)) + "</pre></details>\n");
  return without_controls(out + "</body></html>\n");
}

}  // namespace updraft::measure
