// Error: the world is wrong while opening something (file, format, network, device, memory). Its text is one full
// sentence that names the file and the field and, where there is one, the remedy; the program prints it and exits
// non-zero.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace updraft {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& sentence) : std::runtime_error(sentence) {}
};

// throw Error(fmt::format(...))
template <class... Arguments>
[[noreturn]] void fail(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw Error(fmt::format(text, std::forward<Arguments>(arguments)...));
}

}  // namespace updraft
