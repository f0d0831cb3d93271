#include "text/unicode.h"

#include <algorithm>
#include <map>

#include "text/unicode_table.h"
#include "text/utf8.h"

namespace updraft::text {

const UnicodeClasses& UnicodeClasses::instance() {
  static const UnicodeClasses classes;
  return classes;
}

UnicodeClasses::UnicodeClasses() : block_of_(0x1100) {
  std::map<std::string, uint16_t> known;
  std::string block(256, '\0');
  int run = 0;
  for (char32_t base = 0; base < 0x110000; base += 256) {
    for (char32_t i = 0; i < 256; ++i) {
      while (run + 1 < kClassRunCount && base + i >= (kClassRuns[run + 1] >> 8)) ++run;
      block[i] = char(kClassRuns[run] & 0xff);
    }
    const auto [place, is_new] = known.emplace(block, uint16_t(known.size()));
    if (is_new) blocks_.insert(blocks_.end(), block.begin(), block.end());
    block_of_[base >> 8] = place->second;
  }
}

namespace {

char32_t lower_case(char32_t c) {
  const LowerCaseRange* const end = kLowerCaseRanges + kLowerCaseRangeCount;
  const LowerCaseRange* range = std::lower_bound(
      kLowerCaseRanges, end, c, [](const LowerCaseRange& r, char32_t value) { return r.last < value; });
  if (range == end || c < range->first || (c - range->first) % char32_t(range->step) != 0) return c;
  return char32_t(int32_t(c) + range->delta);
}

}  // namespace

std::string lower_case(std::string_view valid_utf8) {
  std::string out;
  out.reserve(valid_utf8.size());
  for (size_t i = 0; i < valid_utf8.size();) {
    const char32_t c = next_code_point(valid_utf8, i);
    if (c == 0x130) {  // the one character whose lower case is two
      out += "i\u0307";
    } else {
      append_utf8(out, lower_case(c));
    }
  }
  return out;
}

std::string unicode_description() { return std::string("Unicode ") + kUnicodeVersion + " as in " + kUnicodeSource; }

}  // namespace updraft::text
