// The terminal, Markdown and CSV drawings of a run record.
#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

#include "measure/report_rows.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

// Columns on a terminal: Chinese characters take two.
int display_width(const std::string& text) {
  int width = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (utf8proc_ssize_t at = 0, size = utf8proc_ssize_t(text.size()); at < size;) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t step = utf8proc_iterate(bytes + at, size - at, &code);
    if (step <= 0) return int(text.size());
    width += utf8proc_charwidth(code);
    at += step;
  }
  return width;
}

std::string padded(const std::string& text, int width, bool right) {
  const std::string space(size_t(std::max(0, width - display_width(text))), ' ');
  return right ? space + text : text + space;
}

// Markdown shows HTML, and a bar ends a cell: a model's text or a file's name must be neither.
std::string markdown_text(const std::string& text) {
  std::string out;
  for (char c : text)
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '|')
      out += "\\|";
    else
      out += c;
  return out;
}

std::string markdown_table(const TableText& table) {
  if (table.rows.empty()) return "";
  const auto line = [](const std::vector<std::string>& cells, bool bold) {
    std::string out = "|";
    for (const std::string& text : cells)
      out += bold && !text.empty() ? " **" + markdown_text(text) + "** |" : " " + markdown_text(text) + " |";
    return out + "\n";
  };
  std::string out = line(table.header, false) + "|---|";
  for (size_t i = 1; i < table.header.size(); ++i) out += "---:|";
  out += "\n";
  for (size_t i = 0; i < table.rows.size(); ++i)
    out += line(table.rows[i], table.last_row_is_total && i + 1 == table.rows.size());
  return out + "\n";
}

std::string example(const ordered_json& task, Language language) {
  const char* key = language == Language::kChinese ? "name_zh" : "name";
  return fmt::format("[{}]\n{}\n\n", task.value(key, ""), task.value("text", ""));
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

}  // namespace

std::string text_table(const TableText& table) {
  if (table.rows.empty()) return "";
  std::vector<int> widths;
  for (const std::string& title : table.header) widths.push_back(display_width(title));
  for (const auto& row : table.rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (size_t i = 0; i < cells.size(); ++i) out += (i ? "  " : "") + padded(cells[i], widths[i], i > 0);
    return out + "\n";
  };
  std::string rule;
  for (size_t i = 0; i < widths.size(); ++i) rule += (i ? "  " : "") + std::string(size_t(widths[i]), '-');
  std::string out = line(table.header) + rule + "\n";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    if (table.last_row_is_total && i + 1 == table.rows.size()) out += rule + "\n";
    out += line(table.rows[i]);
  }
  return out + "\n";
}

std::string terminal_report(const ordered_json& record, Language language) {
  std::string out;
  for (const auto& [name, value] : fact_rows(record, language)) out += padded(name, 16, false) + value + "\n";
  out += "\n" + text_table(task_table(record, language)) + text_table(prefill_table(record, language)) +
         text_table(decode_table(record, language)) + text_table(rows_table(record, language));
  if (record.contains("tasks"))
    for (const ordered_json& task : record["tasks"]) out += example(task, language);
  for (const std::string& warning : warnings(record, language)) out += warning + "\n";
  return without_controls(out);
}

std::string markdown_report(const ordered_json& record, Language language) {
  std::string out = language == Language::kChinese ? "# Updraft 基准测试\n\n" : "# Updraft benchmark\n\n";
  for (const std::string& warning : warnings(record, language)) out += "> " + markdown_text(warning) + "\n\n";
  TableText facts;
  facts.header = {"", ""};
  for (const auto& [name, value] : fact_rows(record, language)) facts.rows.push_back({name, value});
  out += markdown_table(facts) + markdown_table(task_table(record, language)) +
         markdown_table(prefill_table(record, language)) + markdown_table(decode_table(record, language)) +
         markdown_table(rows_table(record, language));
  for (const ordered_json& task : record.value("tasks", ordered_json::array())) {
    out +=
        fmt::format("**{}**\n\n", markdown_text(task.value(language == Language::kChinese ? "name_zh" : "name", "")));
    std::string text = markdown_text(task.value("text", ""));
    for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 3) text.replace(at, 1, "\n> ");
    out += "> " + text + "\n\n";
  }
  return without_controls(out);
}

std::string csv_report(const ordered_json& record) {
  std::string out =
      "kind,name,prompt_tokens,new_tokens,depth,batch,latency_s,tokens_per_second,time_to_first_token_s,"
      "prefill_tokens_per_second,decode_tokens_per_second,inter_token_p50_s,inter_token_p95_s,inter_token_p99_s,"
      "bytes_per_step,bandwidth_fraction,proposed,accepted,tokens_per_step,speedup,rows,step_s,times_one_row,"
      "of_plain_read\n";
  const auto number = [](const ordered_json& object, const char* key) {
    const std::string text = cell(object, key, "{:.9g}");
    return text == "-" ? std::string() : text;
  };
  static const ordered_json kNone = ordered_json::object();
  const auto part = [](const ordered_json& object, const char* key) -> const ordered_json& {
    return object.contains(key) && object[key].is_object() ? object[key] : kNone;
  };
  for (const ordered_json& task : record.value("tasks", ordered_json::array())) {
    const ordered_json& gaps = part(task, "inter_token_latency_s");
    out += fmt::format(
        "task,{},{},{},,,{},{},{},{},{},{},{},{},{},{},{},{},{},{},,,,\n", quoted(task.value("id", "")),
        number(task, "prompt_tokens"), number(task, "new_tokens"), number(part(task, "latency_s"), "mean"),
        number(task, "tokens_per_second"), number(part(task, "time_to_first_token_s"), "median"),
        number(task, "prefill_tokens_per_second"), number(task, "decode_tokens_per_second"), number(gaps, "p50"),
        number(gaps, "p95"), number(gaps, "p99"), number(task, "bytes_per_token"), number(task, "bandwidth_fraction"),
        number(part(task, "speculation"), "proposed"), number(part(task, "speculation"), "accepted"),
        number(part(task, "speculation"), "tokens_per_step"), number(part(task, "speculation"), "speedup"));
  }
  for (const ordered_json& point : record.value("sweep", ordered_json::array()))
    out += fmt::format(
        "{},,{},,{},{},,,,{},{},,,,{},{},,,,,{},{},{},{}\n", point.value("kind", ""), number(point, "prompt_tokens"),
        number(point, "depth"), number(point, "batch"), number(part(point, "prefill_tokens_per_second"), "median"),
        number(part(point, "decode_tokens_per_second"), "median"), number(point, "bytes_per_step"),
        number(point, "bandwidth_fraction"), number(point, "rows"), number(part(point, "step_s"), "median"),
        number(point, "times_one_row"), number(part(point, "of_plain_read"), "median"));
  return out;
}

}  // namespace updraft::measure
