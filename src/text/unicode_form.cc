#include "text/unicode_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

using Characters = std::vector<utf8proc_int32_t>;

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Appends the decomposition of `c`; returns whether it is anything but `c` itself.
bool decompose(utf8proc_int32_t c, bool compatible, Characters& out) {
  const auto options = utf8proc_option_t(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0));
  utf8proc_int32_t parts[32];  // the longest decomposition has 18
  int boundary = 0;
  const auto count = utf8proc_decompose_char(c, parts, 32, options, &boundary);
  out.insert(out.end(), parts, parts + std::clamp<utf8proc_ssize_t>(count, 0, 32));
  return count != 1 || parts[0] != c;
}

// Every run of characters with a combining class other than 0 is put in the order of their classes. A stable sort keeps
// this fast for a text that is nothing but marks.
void sort_marks(Characters& characters) {
  const auto is_mark = [](utf8proc_int32_t c) { return combining_class(c) != 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if(begin, characters.end(), is_mark);
    const auto end = std::find_if_not(begin, characters.end(), is_mark);
    std::stable_sort(begin, end,
                     [](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

// The tables of `tokenizers` for normalization are older than utf8proc's: characters that they do not know are letters
// like any other there, which nothing moves or joins.
bool is_known(utf8proc_int32_t c) { return UnicodeClasses::instance().of(char32_t(c)) & kNormalizingBit; }

// Appends decomposed characters in order, joined where `compose`, and empties them.
void finish(Characters& characters, bool compose, std::string& out) {
  sort_marks(characters);
  if (compose && !characters.empty()) {
    const auto options = utf8proc_option_t(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    const auto size = utf8proc_normalize_utf32(characters.data(), utf8proc_ssize_t(characters.size()), options);
    characters.resize(size_t(std::max<utf8proc_ssize_t>(size, 0)));
  }
  Characters parts;
  for (utf8proc_int32_t c : characters) {
    parts.clear();
    if (compose && c >= 0x300 && !is_known(c) && decompose(c, false, parts)) {
      for (utf8proc_int32_t part : parts) append_utf8(out, char32_t(part));  // joined by a rule too young
    } else {
      append_utf8(out, char32_t(c));
    }
  }
  characters.clear();
}

bool may_change(std::string_view text) {
  const UnicodeClasses& classes = UnicodeClasses::instance();
  for (size_t i = 0; i < text.size();) {
    if (uint8_t(text[i]) < 0x80) {
      ++i;
    } else if (classes.of(next_code_point(text, i)) & kNormalizingBit) {
      return true;
    }
  }
  return false;
}

}  // namespace

void to_unicode_form(std::string& text, UnicodeForm form) {
  if (!may_change(text)) return;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  Characters characters, parts;
  for (size_t i = 0; i < text.size();) {
    const auto c = utf8proc_int32_t(next_code_point(text, i));
    parts.clear();
    if (c < 0x80) {
      characters.push_back(c);
    } else if ((decompose(c, compatible, parts) || combining_class(c) != 0) && !is_known(c)) {
      finish(characters, compose, out);
      append_utf8(out, char32_t(c));
    } else {
      characters.insert(characters.end(), parts.begin(), parts.end());
    }
  }
  finish(characters, compose, out);
  text = std::move(out);
}

}  // namespace updraft::text
