#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "text/jinja/string_literal.h"
#include "text/jinja/unicode.h"

namespace updraft::text::jinja {
namespace {

// Line ends become '\n' and one at the end of the template is dropped.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string source, const std::string& name) : source_(std::move(source)), name_(name) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) {
      size_t tag = next_tag();
      if (tag == std::string::npos) {
        add_data(source_.substr(position_));
        position_ = source_.size();
        break;
      }
      read_tag(tag);
    }
    add(Token::Kind::kEnd, "end of template");
    return std::move(tokens_);
  }

 private:
  struct RawEnd {
    size_t begin, sign, end;
  };

  size_t next_tag() const {
    for (size_t at = source_.find('{', position_); at != std::string::npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    }
    return std::string::npos;
  }

  void read_tag(size_t tag) {
    char kind = source_[tag + 1];
    char sign = peek(tag + 2) == '-' || peek(tag + 2) == '+' ? source_[tag + 2] : '\0';
    add_data(trimmed_text(std::string_view(source_).substr(position_, tag - position_), sign, kind != '{'));
    position_ = tag;
    size_t inside = tag + 2 + (sign ? 1 : 0);
    if (kind == '#') {
      skip_comment(inside);
    } else if (std::optional<size_t> raw = kind == '%' ? raw_begin(inside) : std::nullopt) {
      read_raw(*raw);
    } else {
      add(kind == '{' ? Token::Kind::kVariableBegin : Token::Kind::kBlockBegin, source_.substr(tag, 2));
      position_ = inside;
      read_inside(kind == '{');
    }
  }

  // Text before a tag: `-` strips all whitespace; a block or comment that is first on its line strips its indentation.
  std::string trimmed_text(std::string_view text, char sign, bool may_strip_line) const {
    if (sign == '-') return std::string(strip_spaces(text, Side::kRight));
    if (sign == '+' || !may_strip_line) return std::string(text);
    size_t newline = text.rfind('\n');
    size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    bool line_starting = position_ == 0 || source_[position_ - 1] == '\n';
    if ((line > 0 || line_starting) && strip_spaces(text.substr(line)).empty()) text = text.substr(0, line);
    return std::string(text);
  }

  size_t skip_spaces(size_t at) const {
    std::string_view rest = std::string_view(source_).substr(at);
    return source_.size() - strip_spaces(rest, Side::kLeft).size();
  }

  char peek(size_t at) const { return at < source_.size() ? source_[at] : '\0'; }
  bool at(size_t position, std::string_view text) const { return source_.compare(position, text.size(), text) == 0; }

  // The end of a tag that closes with `close` ("%}", "#}", "}}"), with its sign and what it swallows, or nothing.
  std::optional<size_t> tag_end(size_t position, std::string_view close) const {
    bool is_variable = close == "}}";
    if (peek(position) == '-' && at(position + 1, close)) return skip_spaces(position + 1 + close.size());
    if (!is_variable && peek(position) == '+' && at(position + 1, close)) return position + 1 + close.size();
    if (!at(position, close)) return std::nullopt;
    size_t end = position + close.size();
    return !is_variable && peek(end) == '\n' ? end + 1 : end;
  }

  void skip_comment(size_t inside) {
    for (size_t found = inside; (found = source_.find("#}", found)) != std::string::npos; ++found) {
      bool signed_end = found > inside && (source_[found - 1] == '-' || source_[found - 1] == '+');
      position_ = *tag_end(signed_end ? found - 1 : found, "#}");
      return;
    }
    fail_here("the comment is never closed: '#}' is missing");
  }

  // After "{%": the end of "raw %}", or nothing when this is another block.
  std::optional<size_t> raw_begin(size_t inside) const {
    size_t word = skip_spaces(inside);
    if (!at(word, "raw")) return std::nullopt;
    size_t close = skip_spaces(word + 3);
    if (at(close, "-%}")) return skip_spaces(close + 3);
    if (at(close, "%}")) return close + 2;
    return std::nullopt;
  }

  std::optional<RawEnd> raw_end(size_t from) const {
    for (size_t found = source_.find("{%", from); found != std::string::npos; found = source_.find("{%", found + 1)) {
      size_t inside = found + 2;
      if (peek(inside) == '-' || peek(inside) == '+') ++inside;
      size_t word = skip_spaces(inside);
      if (!at(word, "endraw")) continue;
      if (std::optional<size_t> end = tag_end(skip_spaces(word + 6), "%}")) return RawEnd{found, found + 2, *end};
    }
    return std::nullopt;
  }

  void read_raw(size_t begin) {
    std::optional<RawEnd> end = raw_end(begin);
    if (!end) fail_here("the raw block is never closed: '{% endraw %}' is missing");
    position_ = begin;
    char sign = source_[end->sign] == '-' || source_[end->sign] == '+' ? source_[end->sign] : '\0';
    add_data(trimmed_text(std::string_view(source_).substr(begin, end->begin - begin), sign, true));
    position_ = end->end;
  }

  void read_inside(bool is_variable) {
    std::string open;  // closing brackets that are due
    while (position_ < source_.size()) {
      if (open.empty()) {
        if (std::optional<size_t> end = tag_end(position_, is_variable ? "}}" : "%}")) {
          add(is_variable ? Token::Kind::kVariableEnd : Token::Kind::kBlockEnd, is_variable ? "}}" : "%}");
          position_ = *end;
          return;
        }
      }
      if (is_space(code_point_at(source_, position_))) {
        position_ = skip_spaces(position_);
      } else if (!read_number() && !read_name() && !read_string()) {
        read_operator(open);
      }
    }
  }

  size_t digits_end(size_t from) const {  // digits with single underscores between them
    size_t end = from;
    while (is_ascii_digit(peek(end)) || (end > from && peek(end) == '_' && is_ascii_digit(peek(end + 1)))) ++end;
    return end;
  }

  bool read_number() {
    if (!is_ascii_digit(peek(position_))) return false;
    size_t whole = digits_end(position_);
    size_t end = whole;
    bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    if (!after_dot && peek(end) == '.' && is_ascii_digit(peek(end + 1))) end = digits_end(end + 1);
    if (!after_dot && (peek(end) == 'e' || peek(end) == 'E')) {
      size_t exponent = end + 1;
      if (peek(exponent) == '+' || peek(exponent) == '-') ++exponent;
      if (is_ascii_digit(peek(exponent))) end = digits_end(exponent);
    }
    bool is_float = end != whole;
    if (!is_float) end = integer_end(whole);
    std::string text = source_.substr(position_, end - position_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, std::move(text));
    position_ = end;
    return true;
  }

  // 0x, 0o and 0b prefixes; a leading zero is a number of its own, as in the reference's lexer.
  size_t integer_end(size_t decimal_end) const {
    if (source_[position_] != '0') return decimal_end;
    char base = static_cast<char>(peek(position_ + 1) | 0x20);
    auto is_digit_of_base = [&](char c) {
      char lower = static_cast<char>(c | 0x20);
      if (base == 'x') return is_ascii_digit(c) || (lower >= 'a' && lower <= 'f');
      return c >= '0' && c <= (base == 'o' ? '7' : '1');
    };
    if (base == 'x' || base == 'o' || base == 'b') {
      size_t end = position_ + 2;
      while (is_digit_of_base(peek(end)) || (peek(end) == '_' && is_digit_of_base(peek(end + 1)))) ++end;
      if (end > position_ + 2) return end;
    }
    size_t end = position_ + 1;
    while (peek(end) == '0' || (peek(end) == '_' && peek(end + 1) == '0')) ++end;
    return end;
  }

  bool read_name() {
    size_t end = position_;
    while (end < source_.size() && is_word(code_point_at(source_, end))) end += character_bytes(source_, end);
    if (end == position_) return false;
    char32_t first = code_point_at(source_, position_);
    if (first != '_' && !is_alphabetic(first)) fail_here("this character cannot begin a name");
    add(Token::Kind::kName, source_.substr(position_, end - position_));
    position_ = end;
    return true;
  }

  static bool is_word(char32_t c) {
    if (c < 0x80) return c == '_' || is_ascii_digit(static_cast<char>(c)) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    return is_alphabetic(c) || is_numeric(c);
  }

  bool read_string() {
    char quote = peek(position_);
    if (quote != '\'' && quote != '"') return false;
    size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail_here("the string is never closed");
    StringLiteral literal = read_string_literal(std::string_view(source_).substr(position_ + 1, end - position_ - 1));
    if (!literal.error.empty()) fail_here(literal.error);
    add(Token::Kind::kString, std::move(literal.text));
    position_ = end + 1;
    return true;
  }

  void read_operator(std::string& open) {
    static constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    auto found = std::find_if(kOperators.begin(), kOperators.end(), [&](auto text) { return at(position_, text); });
    if (found == kOperators.end()) {
      fail_here("unexpected character '" + source_.substr(position_, character_bytes(source_, position_)) + "'");
    }
    char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) fail_here(std::string("unexpected '") + c + "'");
      if (open.back() != c) fail_here(std::string("unexpected '") + c + "', expected '" + open.back() + "'");
      open.pop_back();
    }
    add(Token::Kind::kOperator, std::string(*found));
    position_ += found->size();
  }

  void add_data(std::string text) {
    if (!text.empty()) add(Token::Kind::kData, std::move(text));
  }

  void locate() {  // counts on from the last position asked for
    for (; located_ < position_; ++located_) {
      if (source_[located_] == '\n') {
        ++line_;
        column_ = 1;
      } else if ((static_cast<unsigned char>(source_[located_]) & 0xC0) != 0x80) {
        ++column_;
      }
    }
  }

  void add(Token::Kind kind, std::string text) {
    locate();
    tokens_.push_back({kind, std::move(text), line_, column_});
  }

  [[noreturn]] void fail_here(const std::string& what) {
    locate();
    fail_at(name_, line_, column_, what);
  }

  std::string source_;
  const std::string& name_;
  std::vector<Token> tokens_;
  size_t position_ = 0;
  size_t located_ = 0;
  int line_ = 1;
  int column_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& template_name) {
  if (!is_valid_utf8(source)) fail("The template {} is not valid UTF-8.", template_name);
  return Lexer(normalize(source), template_name).run();
}

void fail_at(const std::string& template_name, int line, int column, const std::string& what) {
  fail("The template {} does not parse at line {}, column {}: {}.", template_name, line, column, what);
}

}  // namespace updraft::text::jinja
