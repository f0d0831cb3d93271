// JSON lines: one object a line on standard input, one a line on standard output in the same order. A line that cannot
// be answered answers {"error": "..."} and the rest goes on.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace updraft::cli {

// One line of JSON, strict UTF-8 in, and out with invalid UTF-8 replaced (a decoded text may hold a lone byte).
nlohmann::ordered_json parse_line(const std::string& line);  // throws Error
std::string dump_line(const nlohmann::ordered_json& value);
nlohmann::ordered_json error_line(const std::string& sentence);

// Answers each line of standard input with answer(line); returns the number of lines that answered an error.
int64_t run_json_lines(const std::function<nlohmann::ordered_json(const nlohmann::ordered_json&)>& answer);

}  // namespace updraft::cli
