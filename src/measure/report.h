// Reports: one run record as a terminal table, Markdown, CSV, or one self-contained HTML file. Pure functions of the
// record.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace updraft::measure {

enum class Language { kEnglish, kChinese };

std::string terminal_report(const nlohmann::ordered_json& record, Language);
std::string markdown_report(const nlohmann::ordered_json& record, Language);
std::string csv_report(const nlohmann::ordered_json& record);  // one line per task and per point of a sweep
std::string html_report(const nlohmann::ordered_json& record, Language);

}  // namespace updraft::measure
