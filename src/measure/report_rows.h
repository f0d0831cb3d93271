// The rows that every report shows, as text cells: the table of tasks with its average row, the sweep, and the facts
// above and below. Formats (terminal, Markdown, HTML) only draw them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "measure/report.h"

namespace updraft::measure {

struct TableText {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  bool last_row_is_total = false;
};

TableText task_table(const nlohmann::ordered_json& record, Language);
TableText prefill_table(const nlohmann::ordered_json& record, Language);  // empty header: there was no such sweep
TableText decode_table(const nlohmann::ordered_json& record, Language);
TableText rows_table(const nlohmann::ordered_json& record, Language);
// ("Model", "Mistral-7B-Instruct-v0.2, bf16, ..."), ...
std::vector<std::pair<std::string, std::string>> fact_rows(const nlohmann::ordered_json& record, Language);
// Sentences that a reader must not miss: synthetic weights, cache-resident, a run that was stopped.
std::vector<std::string> warnings(const nlohmann::ordered_json& record, Language);

// Number at a path of keys, formatted; "-" when it is missing or null.
std::string cell(const nlohmann::ordered_json& object, const char* key, const char* format, double scale = 1);
double number_at(const nlohmann::ordered_json& object, const char* key);  // 0 when it is missing or no number
std::string gigabytes(double bytes);
// For a terminal, in the given order: the first column is left-aligned, the others right.
std::string text_table(const TableText&);
// Control characters other than tab and newline become U+FFFD: what a model says must not steer a terminal, and a file
// with NUL is no text.
std::string without_controls(const std::string& utf8);

}  // namespace updraft::measure
