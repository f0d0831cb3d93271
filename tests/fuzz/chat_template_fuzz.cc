// The template engine on any template and any variables: the input is a template, a zero byte, and JSON. Errors are
// expected; crashes, leaks and hangs are not.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string input(reinterpret_cast<const char*>(data), size);
  size_t split = input.find('\0');
  auto variables = nlohmann::ordered_json::object();
  if (split != std::string::npos) {
    variables = nlohmann::ordered_json::parse(input.substr(split + 1), nullptr, false);
    if (variables.is_discarded()) return 0;
    input.resize(split);
  }
  try {
    updraft::text::ChatTemplate chat_template(input);
    chat_template.render(variables);
  } catch (const updraft::Error&) {
  } catch (const updraft::text::TemplateError&) {
  }
  return 0;
}
