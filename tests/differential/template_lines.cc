// Reads lines of {"template": "...", any variable} and writes {"prompt": "..."} or {"error": "..."}: what
// `updraft template - --jsonl` does, for template_differential.py where the program is not built.
#include <iostream>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

nlohmann::ordered_json answer(const std::string& line) {
  nlohmann::ordered_json request = nlohmann::ordered_json::parse(line, nullptr, false);
  if (!request.is_object()) return {{"error", "the line is not a JSON object"}};
  try {
    std::string source = request["template"].get<std::string>();
    request.erase("template");
    return {{"prompt", updraft::text::ChatTemplate(source).render(request)}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(line).dump() << "\n";
}
