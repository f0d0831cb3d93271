#include "text/unicode_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "text/utf8.h"

namespace updraft::text {
namespace {

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0x80; });
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Every run of characters with a combining class other than 0 is put in the order of their classes. A stable sort keeps
// this fast for a text that is nothing but marks.
void sort_marks(std::vector<utf8proc_int32_t>& characters) {
  const auto is_mark = [](utf8proc_int32_t c) { return combining_class(c) != 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if(begin, characters.end(), is_mark);
    const auto end = std::find_if_not(begin, characters.end(), is_mark);
    std::stable_sort(begin, end,
                     [](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

}  // namespace

void to_unicode_form(std::string& text, UnicodeForm form) {
  if (is_ascii(text)) return;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const auto options = utf8proc_option_t(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size() + 32);
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t parts[32];  // the longest decomposition has 18
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(utf8proc_int32_t(next_code_point(text, i)), parts, 32, options, &boundary);
    characters.insert(characters.end(), parts, parts + std::clamp<utf8proc_ssize_t>(count, 0, 32));
  }
  sort_marks(characters);
  utf8proc_ssize_t size = utf8proc_ssize_t(characters.size());
  if (form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) {
    size = utf8proc_normalize_utf32(characters.data(), size, utf8proc_option_t(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  }
  text.clear();
  for (utf8proc_ssize_t i = 0; i < size; ++i) append_utf8(text, char32_t(characters[size_t(i)]));
}

}  // namespace updraft::text
