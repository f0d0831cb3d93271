// The generated tables behind unicode.h: see tools/make_unicode_table.py.
#pragma once

#include <cstdint>

namespace updraft::text {

extern const char kUnicodeVersion[];  // of the letter, mark and number classes: "16.0"
extern const char kUnicodeSource[];   // "tokenizers 0.23.3"

// Runs of code points of one class: first code point << 8 | class bits, ascending; a run ends where the next begins.
extern const uint32_t kClassRuns[];
extern const int kClassRunCount;

// Every `step`-th code point of [first, last] becomes itself + delta in lower case.
struct LowerCaseRange {
  char32_t first, last;
  int32_t step, delta;
};
extern const LowerCaseRange kLowerCaseRanges[];
extern const int kLowerCaseRangeCount;

}  // namespace updraft::text
