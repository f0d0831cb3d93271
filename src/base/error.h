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

// What make() gives. An Error of it that does not name `where` (a file) yet begins with it.
template <class Make>
auto naming(const std::string& where, Make&& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (std::string(error.what()).find(where) != std::string::npos) throw;
    fail("{}: {}", where, error.what());
  }
}

}  // namespace updraft
