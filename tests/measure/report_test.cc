#include "measure/report.h"

#include <gtest/gtest.h>

#include <regex>
#include <sstream>

#include "measure/report_rows.h"
#include "tests/measure/example_record.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;
using namespace std::string_literals;
using test::example_record;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Tags that are open at the end, or the first one that is closed without being open.
std::string unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = 0; (at = html.find('<', at)) != std::string::npos;) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "a tag without its >";
    const std::string inside = html.substr(at + 1, end - at - 1);
    at = end;
    if (inside.starts_with("!") || inside.ends_with("/")) continue;
    const std::string name = inside.substr(0, inside.find_first_of(" \n"));
    if (name == "meta") continue;
    if (!name.starts_with("/"))
      open.push_back(name);
    else if (open.empty() || "/" + open.back() != name)
      return name + " closes " + (open.empty() ? "nothing" : open.back());
    else
      open.pop_back();
  }
  return open.empty() ? "" : open.back() + " is never closed";
}

std::vector<size_t> csv_columns(const std::string& csv) {
  std::vector<size_t> counts;
  size_t columns = 1;
  bool quoted = false;
  for (char c : csv) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == ',') ++columns;
    if (c == '\n') counts.push_back(columns), columns = 1;
  }
  return counts;
}

TEST(Report, HtmlIsWellFormedAndLoadsNothing) {
  for (const Language language : {Language::kEnglish, Language::kChinese}) {
    const std::string html = html_report(example_record(), language);
    EXPECT_EQ(unbalanced(html), "");
    // A URL in a text is text; in a tag it would be loaded.
    EXPECT_FALSE(std::regex_search(html, std::regex(R"(<[^>]*(https?:|src=|href=|url\(|@import))")));
    EXPECT_FALSE(has(html, "<script")) << "the model's text is escaped";
    EXPECT_TRUE(has(html, "&lt;script src=&quot;http://example.com/x.js&quot;&gt;alert(1)&lt;/script&gt;"));
    EXPECT_TRUE(has(html, "mis&quot;tral&lt;7b&gt;"));
    EXPECT_TRUE(has(html, "A &amp; B &lt;fast&gt;"));
    EXPECT_TRUE(has(html, "你好 &amp; 再见"));
    EXPECT_FALSE(has(html, "nan"));
    EXPECT_FALSE(has(html, "inf\""));
    EXPECT_TRUE(has(html, "<svg"));
  }
}

TEST(Report, BothLanguagesHaveTheSameTables) {
  const ordered_json record = example_record();
  for (const auto& table : {&task_table, &prefill_table, &decode_table, &rows_table}) {
    const TableText english = table(record, Language::kEnglish), chinese = table(record, Language::kChinese);
    ASSERT_EQ(english.header.size(), chinese.header.size());
    EXPECT_NE(english.header, chinese.header);
    ASSERT_EQ(english.rows.size(), chinese.rows.size());
    ASSERT_FALSE(english.rows.empty());
    for (const TableText* t : {&english, &chinese})
      for (const auto& row : t->rows) EXPECT_EQ(row.size(), t->header.size());
  }
  EXPECT_EQ(fact_rows(record, Language::kEnglish).size(), fact_rows(record, Language::kChinese).size());
  EXPECT_EQ(warnings(record, Language::kEnglish).size(), warnings(record, Language::kChinese).size());
}

TEST(Report, TheTableShowsWhatWasMeasured) {
  const TableText table = task_table(example_record(), Language::kEnglish);
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_TRUE(table.last_row_is_total);
  EXPECT_EQ(table.rows[0][1], "20");
  EXPECT_EQ(table.rows[0][2], "4");
  EXPECT_EQ(table.rows[0][3].substr(0, 5), "0.400");
  EXPECT_EQ(table.rows[0][4], "10.00");
  EXPECT_EQ(table.rows[0].back(), "91.0 %");
  EXPECT_EQ(table.rows[2][4], "10.00");
  EXPECT_EQ(table.rows[2].back(), "91.0 %");
}

TEST(Report, OneRunHasNoIntervalAndOneTokenNoGaps) {
  ordered_json record = example_record();
  ordered_json& task = record["tasks"][0];
  EXPECT_TRUE(has(task_table(record, Language::kEnglish).rows[0][3], " ±"));
  task["latency_s"] = summary_json({0.4});
  EXPECT_TRUE(task["latency_s"]["confidence_95"].is_null());
  task["tokens_per_second_summary"] = summary_json({10});
  task["inter_token_latency_s"] = {{"p50", nullptr}, {"p95", nullptr}, {"p99", nullptr}};
  const TableText table = task_table(record, Language::kEnglish);
  EXPECT_EQ(table.rows[0][3], "0.400");
  EXPECT_EQ(table.rows[0][8], "-");
  EXPECT_EQ(unbalanced(html_report(record, Language::kEnglish)), "");
  const std::vector<size_t> counts = csv_columns(csv_report(record));
  for (size_t count : counts) EXPECT_EQ(count, counts.front());
}

TEST(Report, AnIntervalOfTimesEndsAtZero) {
  const ordered_json wide = summary_json({0.1, 1.1});
  EXPECT_EQ(wide["confidence_95"][0], 0);
  ordered_json record = example_record();
  record["tasks"][0]["latency_s"] = wide;
  // t(1) = 12.706 times the standard error, 0.5: what was cut off below is not missing above.
  EXPECT_EQ(task_table(record, Language::kEnglish).rows[0][3], "0.600 ±6.353");
}

TEST(Report, ControlCharactersAreNotPassedOn) {
  ordered_json record = example_record();
  record["model"]["name"] = "evil\x1b]0;title\x07";
  record["tasks"][0]["text"] = "nul\0 esc\x1b[31m del\x7f csi\xc2\x9b cr\r tab\t\nend °é"s;
  for (const Language language : {Language::kEnglish, Language::kChinese})
    for (const std::string& report :
         {terminal_report(record, language), html_report(record, language), markdown_report(record, language)}) {
      for (const char c : report) {
        ASSERT_TRUE(uint8_t(c) >= 0x20 || c == '\n' || c == '\t') << int(c);
        ASSERT_NE(c, 0x7f);
      }
      EXPECT_FALSE(has(report, "\xc2\x9b"));
      EXPECT_TRUE(has(report, "evil\uFFFD]0;title\uFFFD"));
      EXPECT_TRUE(has(report, "nul\uFFFD esc\uFFFD[31m del\uFFFD csi\uFFFD cr\uFFFD tab\t\n"));
      EXPECT_TRUE(has(report, "end °é"));
    }
}

TEST(Report, OnlyWhatWasRunIsSaid) {
  ordered_json record = test::example_record();
  EXPECT_NE(terminal_report(record, Language::kEnglish).find("1 + 3 runs"), std::string::npos);
  record["protocol"]["no_tasks"] = true;
  record["tasks"] = ordered_json::array();
  record.erase("average");
  record["sweep"] = {{{"kind", "rows"}, {"depth", 0}, {"rows", 4}, {"times_one_row", 1.5}}};
  record["protocol"]["sweep"] = {{"samples", 7}, {"decode_tokens", 30}};
  const std::string report = terminal_report(record, Language::kEnglish);
  EXPECT_EQ(report.find("runs (warm-up"), std::string::npos) << report;
  EXPECT_NE(report.find("7 samples of each point"), std::string::npos) << report;
}

TEST(Report, Warnings) {
  EXPECT_EQ(warnings(example_record(), Language::kEnglish).size(), 1u) << "synthetic";
  ordered_json record = example_record();
  record["model"]["synthetic"] = nullptr;
  EXPECT_TRUE(warnings(record, Language::kEnglish).empty());
  record["tasks"][0]["cache_resident"] = true;
  record["complete"] = false;
  record["tasks"][1]["new_tokens"] = 3;
  record["refused_fields"] = {"ignore_eos"};
  record["tokens_counted_by"] = "pieces";
  const std::vector<std::string> all = warnings(record, Language::kEnglish);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_TRUE(has(all[0], "cache-resident"));
  EXPECT_TRUE(has(all[1], "ended before"));
  EXPECT_TRUE(has(all[2], "ignore_eos"));
  EXPECT_TRUE(has(all[3], "piece"));
  EXPECT_TRUE(has(all[4], "stopped"));
  record["protocol"]["stop_at_eos"] = true;
  EXPECT_EQ(warnings(record, Language::kEnglish).size(), 4u) << "then a run may end early";
}

TEST(Report, CsvLinesHaveTheHeadersColumns) {
  const std::string csv = csv_report(example_record());
  const std::vector<size_t> counts = csv_columns(csv);
  ASSERT_EQ(counts.size(), 6u);
  for (size_t count : counts) EXPECT_EQ(count, counts.front()) << csv;
  std::istringstream lines(csv);
  std::string line;
  std::getline(lines, line);
  std::vector<std::string> header;
  for (std::istringstream cells(line); std::getline(cells, line, ',');) header.push_back(line);
  const auto column = [&](const std::string& text, const std::string& name) {
    std::istringstream cells(text);
    std::string value;
    for (size_t i = 0; i < header.size() && std::getline(cells, value, ','); ++i)
      if (header[i] == name) return value;
    return std::string("?");
  };
  std::getline(lines, line);
  EXPECT_EQ(column(line, "kind"), "task");
  EXPECT_EQ(column(line, "tokens_per_second"), "10");
  EXPECT_EQ(column(line, "inter_token_p99_s"), "0.3");
  EXPECT_EQ(column(line, "bandwidth_fraction"), "0.91");
  std::getline(lines, line);
  std::getline(lines, line);
  EXPECT_EQ(column(line, "kind"), "prefill");
  EXPECT_EQ(column(line, "prompt_tokens"), "256");
  EXPECT_EQ(column(line, "prefill_tokens_per_second"), "105");
  std::getline(lines, line);
  EXPECT_EQ(column(line, "depth"), "4096");
  EXPECT_EQ(column(line, "batch"), "4");
  EXPECT_EQ(column(line, "decode_tokens_per_second"), "40.5");
  EXPECT_EQ(column(line, "bytes_per_step"), "1.6e+10");
  EXPECT_EQ(column(line, "bandwidth_fraction"), "0.88");
  EXPECT_EQ(column(line, "of_plain_read"), "0.93");
  std::getline(lines, line);
  EXPECT_EQ(column(line, "kind"), "rows");
  EXPECT_EQ(column(line, "rows"), "4");
  EXPECT_EQ(column(line, "step_s"), "0.1");
  EXPECT_EQ(column(line, "times_one_row"), "1.03");
}

TEST(Report, MarkdownTablesKeepTheirColumns) {
  const std::string markdown = markdown_report(example_record(), Language::kChinese);
  std::istringstream lines(markdown);
  size_t columns = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('|')) {
      columns = 0;
      continue;
    }
    size_t bars = 0;
    for (size_t i = 0; i < line.size(); ++i) bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    if (columns == 0) columns = bars;
    EXPECT_EQ(bars, columns) << line;
  }
  EXPECT_FALSE(has(markdown, "<script")) << "Markdown shows HTML: the model's text must not be it";
}

TEST(Report, RecordsWithHolesAreDrawn) {
  ordered_json bare = {{"schema", kRunRecordSchema}, {"tasks", ordered_json::array()}};
  ordered_json endpoint = example_record();
  for (const char* key : {"bandwidth", "memory", "numerics_key", "sweep"}) endpoint.erase(key);
  endpoint["target"] = "http://localhost:8000/v1";
  endpoint["model"] = {{"name", "model-of-the-server"}};
  for (ordered_json& task : endpoint["tasks"]) {
    for (const char* key : {"bandwidth_fraction", "bytes_per_token", "cache_resident", "logits_hash"}) task.erase(key);
    task["prompt_tokens"] = task["prefill_tokens_per_second"] = task["decode_tokens_per_second"] = nullptr;
  }
  endpoint["average"] = average_row(endpoint["tasks"]);
  for (const Language language : {Language::kEnglish, Language::kChinese})
    for (const ordered_json& record : {bare, endpoint}) {
      EXPECT_EQ(unbalanced(html_report(record, language)), "");
      EXPECT_FALSE(terminal_report(record, language).empty());
      EXPECT_FALSE(markdown_report(record, language).empty());
      const std::vector<size_t> counts = csv_columns(csv_report(record));
      for (size_t count : counts) EXPECT_EQ(count, counts.front());
    }
  for (const std::string& report :
       {terminal_report(endpoint, Language::kEnglish), markdown_report(endpoint, Language::kEnglish),
        html_report(endpoint, Language::kEnglish)}) {
    EXPECT_TRUE(has(report, "http://localhost:8000/v1"));
    EXPECT_TRUE(has(report, "model-of-the-server"));
  }
  EXPECT_EQ(task_table(endpoint, Language::kEnglish).rows[0][1], "-") << "the server counted no prompt tokens";
}

}  // namespace
}  // namespace updraft::measure
