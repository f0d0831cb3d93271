// TemplateError: a template refused its variables (raise_exception), used them wrongly, or went over a limit. what() is
// the template's own message, or Python's for the same mistake. For a request it is the user's mistake (HTTP 400).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace updraft::text {

class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace jinja {

template <class... Arguments>
[[noreturn]] void refuse(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw TemplateError(fmt::format(text, std::forward<Arguments>(arguments)...));
}

}  // namespace jinja
}  // namespace updraft::text
