#include "text/jinja/string_literal.h"

#include <fmt/format.h>

#include "text/jinja/unicode.h"

namespace updraft::text::jinja {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

char simple_escape(char c) {
  switch (c) {
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return c;
    default:
      return '\0';
  }
}

class Reader {
 public:
  explicit Reader(std::string_view inside) : inside_(inside) {}

  StringLiteral run() {
    while (position_ < inside_.size() && literal_.error.empty()) {
      if (inside_[position_] != '\\') {
        literal_.text += inside_[position_++];
      } else {
        ++position_;
        read_escape();
      }
    }
    return std::move(literal_);
  }

 private:
  void read_escape() {
    if (position_ >= inside_.size()) {
      literal_.error = "a backslash ends the string";
      return;
    }
    char c = inside_[position_];
    if (c == '\n') {
      ++position_;
    } else if (char plain = simple_escape(c)) {
      literal_.text += plain;
      ++position_;
    } else if (c >= '0' && c <= '7') {
      read_octal();
    } else if (c == 'x' || c == 'u' || c == 'U') {
      ++position_;
      read_hex(c == 'x' ? 2 : c == 'u' ? 4 : 8);
    } else if (c == 'N') {
      literal_.error = "escapes by character name (\\N{...}) are not supported";
    } else {
      keep_unknown(c);
    }
  }

  // An escape that Python does not know stays as it is. Before a character outside ASCII the reference has already
  // turned that character into an escape, whose first backslash this one then quotes.
  void keep_unknown(char c) {
    literal_.text += '\\';
    if (static_cast<unsigned char>(c) < 0x80) {
      literal_.text += c;
      ++position_;
      return;
    }
    auto code_point = static_cast<uint32_t>(code_point_at(inside_, position_));
    literal_.text += code_point < 0x100     ? fmt::format("x{:02x}", code_point)
                     : code_point < 0x10000 ? fmt::format("u{:04x}", code_point)
                                            : fmt::format("U{:08x}", code_point);
    position_ += character_bytes(inside_, position_);
  }

  void read_octal() {
    char32_t value = 0;
    for (int i = 0; i < 3 && position_ < inside_.size() && inside_[position_] >= '0' && inside_[position_] <= '7';
         ++i) {
      value = value * 8 + static_cast<char32_t>(inside_[position_++] - '0');
    }
    append_utf8(literal_.text, value);
  }

  void read_hex(int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; ++i) {
      int digit = position_ < inside_.size() ? hex_value(inside_[position_]) : -1;
      if (digit < 0) {
        literal_.error = fmt::format("an escape of {} hexadecimal digits is cut short", digits);
        return;
      }
      value = value * 16 + static_cast<uint64_t>(digit);
      ++position_;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      literal_.error = fmt::format("U+{:04X} is not a character", value);
      return;
    }
    append_utf8(literal_.text, static_cast<char32_t>(value));
  }

  std::string_view inside_;
  StringLiteral literal_;
  size_t position_ = 0;
};

}  // namespace

StringLiteral read_string_literal(std::string_view inside) { return Reader(inside).run(); }

}  // namespace updraft::text::jinja
