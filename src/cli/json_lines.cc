#include "cli/json_lines.h"

#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "checkpoint/strict_json.h"
#include "cli/terminal.h"

namespace updraft::cli {

using nlohmann::ordered_json;

ordered_json parse_line(const std::string& line) {
  try {
    return ordered_json::parse(line, checkpoint::refuse_deep_nesting);
  } catch (const nlohmann::json::exception& e) {
    fail("this line is not JSON: {}", e.what());
  }
}

std::string dump_line(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json error_line(const std::string& sentence) { return {{"error", sentence}}; }

int64_t run_json_lines(const std::function<ordered_json(const ordered_json&)>& answer) {
  int64_t errors = 0;
  std::string line;
  while (!interrupted() && std::getline(std::cin, line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    ordered_json result;
    try {
      const ordered_json request = parse_line(line);
      if (!request.is_object()) fail("a line is a JSON object, not {}", request.type_name());
      result = answer(request);
    } catch (const std::exception& e) {  // Error, TemplateError, a field of the wrong type
      result = error_line(e.what());
      ++errors;
    }
    const std::string text = dump_line(result);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
    if (std::cin.rdbuf()->in_avail() <= 0) std::fflush(stdout);  // someone may be waiting for this answer
  }
  std::fflush(stdout);
  return errors;
}

}  // namespace updraft::cli
