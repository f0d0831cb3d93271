// CHECK: for mistakes of the programmer, never for a wrong file, flag or request (those throw Error or are a value).
// A failed CHECK prints the condition, the place and the streamed message, and aborts.
#pragma once

#include <sstream>

namespace updraft {

class CheckFailure {
 public:
  CheckFailure(const char* condition, const char* file, int line);
  [[noreturn]] ~CheckFailure();  // prints and aborts
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace updraft

#define CHECK(condition)      \
  if (condition) [[likely]] { \
  } else                      \
    ::updraft::CheckFailure(#condition, __FILE__, __LINE__).stream()
