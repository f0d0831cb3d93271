#include "text/scanners.h"

#include <array>
#include <cstdint>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

// A view of the text that gives the category of the character at a byte offset.
class Characters {
 public:
  explicit Characters(std::string_view text) : text_(text), classes_(UnicodeClasses::instance()) {}

  size_t size() const { return text_.size(); }
  bool ends_at(size_t i) const { return i >= text_.size(); }
  char byte(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }

  // i < size(); `i` moves behind the character.
  Category take(size_t& i) const {
    const uint8_t lead = uint8_t(text_[i]);
    return classes_.category(lead < 0x80 ? (++i, lead) : next_code_point(text_, i));
  }
  Category at(size_t i) const { return take(i); }

  // End of the run of characters from `i` on that `accepts`.
  template <class Predicate>
  size_t run(size_t i, Predicate accepts) const {
    while (i < text_.size()) {
      size_t next = i;
      if (!accepts(take(next))) break;
      i = next;
    }
    return i;
  }

 private:
  std::string_view text_;
  const UnicodeClasses& classes_;
};

bool is_letter(Category c) { return c >= kUpper && c <= kCaseless; }
bool is_number(Category c) { return c == kNumber; }
bool is_space(Category c) { return c == kSpace; }
bool is_symbol(Category c) { return c == kOtherCategory || c == kMark; }  // [^\s\p{L}\p{N}]
bool is_line_break(char c) { return c == '\r' || c == '\n'; }

// \s+(?!\S)|\s+ from a white space on: a run leaves its last character to the word that follows it.
size_t scan_spaces(const Characters& text, size_t begin) {
  size_t last = begin, end = begin;
  while (!text.ends_at(end)) {
    size_t next = end;
    if (!is_space(text.take(next))) break;
    last = end;
    end = next;
  }
  return text.ends_at(end) || last == begin ? end : last;
}

// \s*[\r\n]+|\s+(?!\S)|\s+: as above, but a run with a line break ends behind its last one.
size_t scan_spaces_and_lines(const Characters& text, size_t begin) {
  const size_t end = text.run(begin, is_space);
  for (size_t i = end; i > begin; --i) {
    if (is_line_break(text.byte(i - 1))) return i;
  }
  return scan_spaces(text, begin);
}

// 's|'t|'re|'ve|'m|'ll|'d behind an apostrophe at `begin`: its end, or `begin` when there is none.
size_t scan_contraction(const Characters& text, size_t begin, bool any_case) {
  const auto letter = [&](size_t i) {
    const char c = text.byte(i);
    return any_case && c >= 'A' && c <= 'Z' ? char(c | 0x20) : c;
  };
  const char first = letter(begin + 1), second = letter(begin + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return begin + 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return begin + 3;
  if (any_case && first == '\xc5' && second == '\xbf') return begin + 3;  // U+017F is an s when case does not matter
  return begin;
}

// The common part of Llama-3 and Qwen2, which differ in how many digits stay together.
template <int kDigits>
size_t scan_words_and_lines(std::string_view source, size_t begin) {
  const Characters text(source);
  if (text.byte(begin) == '\'') {
    const size_t end = scan_contraction(text, begin, true);
    if (end != begin) return end;
  }
  size_t behind = begin;
  const Category first = text.take(behind);
  if (is_letter(first)) return text.run(behind, is_letter);
  if (is_number(first)) {
    for (int digits = 1; digits < kDigits && !text.ends_at(behind) && is_number(text.at(behind)); ++digits)
      text.take(behind);
    return behind;
  }
  const bool line_break = is_line_break(text.byte(begin));
  if (!line_break && !text.ends_at(behind) && is_letter(text.at(behind))) return text.run(behind, is_letter);
  const bool space_and_symbol = text.byte(begin) == ' ' && !text.ends_at(behind) && is_symbol(text.at(behind));
  if (is_symbol(first) || space_and_symbol) {
    size_t end = text.run(behind, is_symbol);
    while (is_line_break(text.byte(end))) ++end;
    return end;
  }
  return scan_spaces_and_lines(text, begin);
}

bool is_upper_like(Category c) { return is_letter(c) ? c != kLower : c == kMark; }        // Lu Lt Lm Lo M
bool is_lower_like(Category c) { return c == kLower || (c >= kModifier && c <= kMark); }  // Ll Lm Lo M

// upper_like* lower_like+ from `begin`: its end, or `begin` when there is no match. When the run of upper-like
// characters is not followed by a lower-case letter it gives back characters until one that is lower-like as well can
// close the word.
size_t scan_lower_word(const Characters& text, size_t begin) {
  size_t end = begin, last_lower_like = begin;
  while (!text.ends_at(end)) {
    size_t next = end;
    const Category c = text.take(next);
    if (!is_upper_like(c)) break;
    end = next;
    if (is_lower_like(c)) last_lower_like = end;
  }
  const size_t lower_end = text.run(end, is_lower_like);
  return lower_end != end ? lower_end : last_lower_like;
}

// A word of the tekken pattern with an optional character in front, or `begin` when there is none.
size_t scan_tekken_word(const Characters& text, size_t begin) {
  size_t behind = begin;
  const Category first = text.take(behind);
  const bool prefix = !is_letter(first) && !is_number(first) && !is_line_break(text.byte(begin));
  if (prefix) {
    const size_t end = scan_lower_word(text, behind);
    if (end != behind) return end;
  }
  const size_t end = scan_lower_word(text, begin);
  if (end != begin) return end;
  if (prefix) {
    const size_t upper_end = text.run(behind, is_upper_like);
    if (upper_end != behind) return upper_end;
  }
  return text.run(begin, is_upper_like);
}

}  // namespace

size_t scan_gpt2(std::string_view source, size_t begin) {
  const Characters text(source);
  if (text.byte(begin) == '\'') {
    const size_t end = scan_contraction(text, begin, false);
    if (end != begin) return end;
  }
  size_t behind = begin;
  Category c = text.take(behind);
  if (text.byte(begin) == ' ' && !text.ends_at(behind) && !is_space(text.at(behind))) c = text.take(behind);
  if (is_space(c)) return scan_spaces(text, begin);
  if (is_letter(c)) return text.run(behind, is_letter);
  if (is_number(c)) return text.run(behind, is_number);
  return text.run(behind, is_symbol);
}

size_t scan_llama3(std::string_view text, size_t begin) { return scan_words_and_lines<3>(text, begin); }
size_t scan_qwen2(std::string_view text, size_t begin) { return scan_words_and_lines<1>(text, begin); }

size_t scan_tekken(std::string_view source, size_t begin) {
  const Characters text(source);
  const size_t word_end = scan_tekken_word(text, begin);
  if (word_end != begin) return word_end;
  size_t behind = begin;
  const Category first = text.take(behind);
  if (is_number(first)) return behind;
  const bool space_and_symbol = text.byte(begin) == ' ' && !text.ends_at(behind) && is_symbol(text.at(behind));
  if (is_symbol(first) || space_and_symbol) {
    size_t end = text.run(behind, is_symbol);
    while (is_line_break(text.byte(end)) || text.byte(end) == '/') ++end;
    return end;
  }
  return scan_spaces_and_lines(text, begin);
}

namespace {

constexpr std::array<std::pair<std::string_view, Scanner>, 4> kKnown = {{
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", scan_gpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan_llama3},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan_qwen2},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     scan_tekken},
}};

}  // namespace

Scanner scanner_of(std::string_view pattern) {
  for (const auto& [known, scanner] : kKnown) {
    if (known == pattern) return scanner;
  }
  return nullptr;
}

std::string_view pattern_of(Scanner scanner) {
  for (const auto& [pattern, known] : kKnown) {
    if (known == scanner) return pattern;
  }
  return {};
}

}  // namespace updraft::text
