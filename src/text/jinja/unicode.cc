#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "text/jinja/special_casing.h"

namespace updraft::text::jinja {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

struct Decoded {
  char32_t code_point;
  size_t bytes;
  bool valid;
};

Decoded decode(std::string_view text, size_t position) {
  utf8proc_int32_t code_point = 0;
  auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + position,
                                static_cast<utf8proc_ssize_t>(text.size() - position), &code_point);
  if (bytes <= 0) return {kReplacement, 1, false};
  return {static_cast<char32_t>(code_point), static_cast<size_t>(bytes), true};
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

const SpecialCasing* special(char32_t c) {
  if (c < 0xDF) return nullptr;
  auto found = std::lower_bound(std::begin(kSpecialCasing), std::end(kSpecialCasing), c,
                                [](const SpecialCasing& entry, char32_t wanted) { return entry.code_point < wanted; });
  return found != std::end(kSpecialCasing) && found->code_point == c ? found : nullptr;
}

void append_all(std::string& text, const char32_t (&code_points)[3]) {
  for (char32_t c : code_points) {
    if (c != 0) append_utf8(text, c);
  }
}

void append_upper(std::string& text, char32_t c) {
  if (const SpecialCasing* entry = special(c)) {
    append_all(text, entry->upper);
  } else {
    append_utf8(text, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_title(std::string& text, char32_t c) {
  if (const SpecialCasing* entry = special(c)) {
    append_all(text, entry->title);
  } else {
    append_utf8(text, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  }
}

// Characters that do not matter when looking for the letter beside a sigma.
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x387 || c == 0x2018 || c == 0x2019 ||
             c == 0x2024 || c == 0x2027 || c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E ||
             c == 0xFF1A;
  }
}

// A capital sigma at the end of a word becomes the final form.
bool is_final_sigma(const std::u32string& text, size_t position) {
  size_t before = position;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = position + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

std::u32string decode_all(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); i += character_bytes(text, i)) out.push_back(code_point_at(text, i));
  return out;
}

void append_lower(std::string& out, const std::u32string& text, size_t position) {
  char32_t c = text[position];
  if (c == 0x3A3) {
    append_utf8(out, is_final_sigma(text, position) ? 0x3C2 : 0x3C3);
  } else if (c == 0x130) {
    append_utf8(out, 'i');
    append_utf8(out, 0x307);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

template <class IsStripped>
std::string_view strip(std::string_view text, Side side, const IsStripped& is_stripped) {
  if (side != Side::kRight) {
    while (!text.empty()) {
      size_t bytes = character_bytes(text, 0);
      if (!is_stripped(text.substr(0, bytes))) break;
      text.remove_prefix(bytes);
    }
  }
  if (side != Side::kLeft) {
    while (!text.empty()) {
      size_t start = text.size() - 1;
      while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
      if (start + character_bytes(text, start) != text.size()) start = text.size() - 1;  // not valid UTF-8
      if (!is_stripped(text.substr(start))) break;
      text.remove_suffix(text.size() - start);
    }
  }
  return text;
}

}  // namespace

size_t character_bytes(std::string_view text, size_t position) {
  return static_cast<unsigned char>(text[position]) < 0x80 ? 1 : decode(text, position).bytes;
}

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); i += character_bytes(text, i)) ++count;
  return count;
}

char32_t code_point_at(std::string_view text, size_t position) { return decode(text, position).code_point; }

void append_utf8(std::string& text, char32_t code_point) {
  utf8proc_uint8_t bytes[4];
  auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    size_t bytes = character_bytes(text, i);
    out.push_back(text.substr(i, bytes));
    i += bytes;
  }
  return out;
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    Decoded decoded = decode(text, i);
    if (!decoded.valid) return false;
    i += decoded.bytes;
  }
  return true;
}

size_t byte_offset(std::string_view text, int64_t index) {
  size_t offset = 0;
  for (; index > 0 && offset < text.size(); --index) offset += character_bytes(text, offset);
  return offset;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alphabetic(char32_t c) {
  auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C) ||
         (c >= 0x2488 && c <= 0x2490);
}

bool is_numeric(char32_t c) {
  auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_upper(char32_t c) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0; }
bool is_lower(char32_t c) { return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0; }
bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }
bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

int decimal_value(char32_t c) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c < 0x80 || !is_decimal(c)) return -1;
  int value = 0;  // decimal digits come in runs of ten; those of mathematics follow each other without a gap
  if (c >= 0x1D7CE && c <= 0x1D7FF) return static_cast<int>((c - 0x1D7CE) % 10);
  while (value < 9 && is_decimal(c - static_cast<char32_t>(value) - 1)) ++value;
  return value;
}

std::string to_upper(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i += character_bytes(text, i)) append_upper(out, code_point_at(text, i));
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  std::u32string all = decode_all(text);
  for (size_t i = 0; i < all.size(); ++i) append_lower(out, all, i);
  return out;
}

std::string to_casefold(std::string_view text) {
  std::string out;
  for (char32_t c : decode_all(text)) {
    utf8proc_int32_t folded[8];
    int boundary = 0;
    auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 8, UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < count && i < 8; ++i) append_utf8(out, static_cast<char32_t>(folded[i]));
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  std::u32string all = decode_all(text);
  bool after_letter = false;
  for (size_t i = 0; i < all.size(); ++i) {
    if (after_letter) {
      append_lower(out, all, i);
    } else {
      append_title(out, all[i]);
    }
    after_letter = is_cased(all[i]);
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  std::u32string all = decode_all(text);
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == 0) {
      append_title(out, all[i]);
    } else {
      append_lower(out, all, i);
    }
  }
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  std::u32string all = decode_all(text);
  for (size_t i = 0; i < all.size(); ++i) {
    if (is_upper(all[i])) {
      append_lower(out, all, i);
    } else if (is_lower(all[i])) {
      append_upper(out, all[i]);
    } else {
      append_utf8(out, all[i]);
    }
  }
  return out;
}

std::string_view strip_spaces(std::string_view text, Side side) {
  return strip(text, side, [](std::string_view character) { return is_space(code_point_at(character, 0)); });
}

std::string_view strip_characters(std::string_view text, std::string_view set, Side side) {
  std::vector<std::string_view> stripped = characters(set);
  std::sort(stripped.begin(), stripped.end());
  return strip(text, side, [&](std::string_view character) {
    return std::binary_search(stripped.begin(), stripped.end(), character);
  });
}

}  // namespace updraft::text::jinja
