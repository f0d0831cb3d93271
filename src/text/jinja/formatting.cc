#include "text/jinja/formatting.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "text/jinja/arguments.h"
#include "text/jinja/integers.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/limits.h"
#include "text/jinja/unicode.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

constexpr int64_t kMaxWidth = 1'000'000;
constexpr int64_t kMaxPrecision = 1'000;  // of a number

struct Specification {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  char grouping = '\0';
  char type = '\0';
  bool alternate = false;
  int64_t width = 0;
  std::optional<int64_t> precision;
};

std::string padded(std::string text, const Specification& spec, char default_align, size_t prefix = 0) {
  int64_t missing = spec.width - count_characters(text);
  if (missing <= 0) return text;
  char align = spec.align ? spec.align : default_align;
  auto fill = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  if (align == '<') return text + fill(missing);
  if (align == '^') return fill(missing / 2) + text + fill(missing - missing / 2);
  if (align == '=') return text.substr(0, prefix) + fill(missing) + text.substr(prefix);
  return fill(missing) + text;
}

int64_t read_number(std::string_view text, size_t& position) {
  int64_t value = 0;
  while (position < text.size() && text[position] >= '0' && text[position] <= '9') {
    value = value * 10 + (text[position++] - '0');
    if (value > kMaxWidth) refuse("a width or precision in a format is larger than {}", kMaxWidth);
  }
  return value;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

Specification parse_specification(std::string_view text) {
  Specification spec;
  size_t i = 0;
  size_t first = text.empty() ? 0 : character_bytes(text, 0);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    i = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    i = 1;
  }
  auto at = [&](char c) { return i < text.size() && text[i] == c; };
  if (at('+') || at('-') || at(' ')) spec.sign = text[i++];
  if (at('#')) {
    spec.alternate = true;
    ++i;
  }
  if (at('0')) {
    if (!spec.align) {
      spec.fill = "0";
      spec.align = '=';
    }
    ++i;
  }
  spec.width = read_number(text, i);
  if (at(',') || at('_')) spec.grouping = text[i++];
  if (at('.')) {
    ++i;
    if (i >= text.size() || text[i] < '0' || text[i] > '9') refuse("Format specifier missing precision");
    spec.precision = read_number(text, i);
  }
  if (i < text.size()) spec.type = text[i++];
  if (i != text.size()) refuse("Invalid format specifier '{}'", text);
  return spec;
}

std::string grouped(const std::string& digits, char separator, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string sign_text(bool negative, char sign) {
  if (negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

std::string format_integer(const Value& value, const Specification& spec) {
  if (spec.precision) refuse("Precision not allowed in integer format specifier");
  const char lower = static_cast<char>(spec.type | 0x20);
  const int base = lower == 'b' ? 2 : lower == 'o' ? 8 : lower == 'x' ? 16 : 10;
  std::string digits = digits_of(value, base), prefix = base == 10 ? "" : std::string("0") + spec.type;
  if (spec.type == 'X')
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c; });
  if (spec.grouping) digits = grouped(digits, spec.grouping, prefix.empty() ? 3 : 4);
  std::string front = sign_text(is_negative(value), spec.sign) + (spec.alternate ? prefix : "");
  return padded(front + digits, spec, '>', front.size());
}

// The text of chr(value), where there is one.
std::optional<std::string> character_of(const Value& value) {
  if (!value.is_integral() || value.is_big() || value.integer() < 0 || value.integer() > 0x10FFFF) return std::nullopt;
  std::string text;
  append_utf8(text, static_cast<char32_t>(value.integer()));
  return text;
}

// Python writes at least one digit after the point when no type is given.
std::string general_digits(double magnitude, const Specification& spec) {
  if (!spec.precision) return float_text(magnitude);
  int64_t precision = std::max<int64_t>(*spec.precision, 1);
  std::string text = fmt::format("{:.{}g}", magnitude, precision);
  bool plain = text.find_first_of(".e") == std::string::npos;
  if (!plain || !std::isfinite(magnitude)) return text;
  return static_cast<int64_t>(text.size()) < precision ? text + ".0" : fmt::format("{:.{}e}", magnitude, precision - 1);
}

std::string real_digits(double magnitude, const Specification& spec) {
  int64_t precision = spec.precision.value_or(6);
  if (precision > kMaxPrecision) refuse("a precision in a format is larger than {}", kMaxPrecision);
  switch (spec.type) {
    case '\0':
      return general_digits(magnitude, spec);
    case 'f':
      return fmt::format("{:.{}f}", magnitude, precision);
    case 'F':
      return fmt::format("{:.{}F}", magnitude, precision);
    case 'e':
      return fmt::format("{:.{}e}", magnitude, precision);
    case 'E':
      return fmt::format("{:.{}E}", magnitude, precision);
    case 'g':
    case 'n':
      return fmt::format("{:.{}g}", magnitude, precision);
    case 'G':
      return fmt::format("{:.{}G}", magnitude, precision);
    case '%':
      return fmt::format("{:.{}f}%", magnitude * 100, precision);
    default:
      refuse("Unknown format code '{}' for object of type 'float'", spec.type);
  }
}

std::string format_real(double value, const Specification& spec) {
  std::string digits = real_digits(std::fabs(value), spec);
  if (spec.grouping) {
    size_t whole = digits.find_first_not_of("0123456789");
    if (whole == std::string::npos) whole = digits.size();
    digits = grouped(digits.substr(0, whole), spec.grouping, 3) + digits.substr(whole);
  }
  std::string front = sign_text(std::signbit(value) && !std::isnan(value), spec.sign);
  return padded(front + digits, spec, '>', front.size());
}

std::string format_string(std::string text, const Specification& spec) {
  if (spec.type != '\0' && spec.type != 's') refuse("Unknown format code '{}' for object of type 'str'", spec.type);
  if (spec.sign != '-' || spec.alternate) refuse("Sign not allowed in string format specifier");
  if (spec.align == '=') refuse("'=' alignment not allowed in string format specifier");
  if (spec.precision) text = text.substr(0, byte_offset(text, *spec.precision));
  return padded(std::move(text), spec, '<');
}

// "%..." conversions.
class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& arguments) : format_(format), arguments_(arguments) {}

  Value run() {
    const std::string& text = format_.text();
    for (size_t i = 0; i < text.size();) {
      if (text[i] != '%') {
        out_ += text[i++];
        continue;
      }
      ++i;
      convert(text, i);
      check_string_size(out_.size());
    }
    bool mapping = arguments_.is_dict() || arguments_.is_list() || arguments_.is_undefined() ||
                   (arguments_.is_object() && arguments_.object()->indexable());
    if (arguments_.is_tuple() ? used_ < arguments_.items().size() : (used_ == 0 && !mapping)) {
      refuse("not all arguments converted during string formatting");
    }
    return Value(std::move(out_), format_.is_markup());
  }

 private:
  Value next_argument() {
    if (arguments_.is_tuple()) {
      if (used_ >= arguments_.items().size()) refuse("not enough arguments for format string");
      return arguments_.items()[used_++];
    }
    if (used_ > 0) refuse("not enough arguments for format string");
    ++used_;
    return arguments_;
  }

  void convert(const std::string& text, size_t& i) {
    Specification spec;
    std::optional<Value> named;
    if (i < text.size() && text[i] == '(') {
      size_t close = text.find(')', i);
      if (close == std::string::npos) refuse("incomplete format key");
      if (!arguments_.is_dict()) refuse("format requires a mapping");
      const Value* found = arguments_.dict().find(std::string_view(text).substr(i + 1, close - i - 1));
      if (!found) refuse("{}", quoted_text(std::string_view(text).substr(i + 1, close - i - 1)));
      named = *found;
      i = close + 1;
    }
    bool zero = false, left = false;
    for (; i < text.size() && std::string_view("#0- +").find(text[i]) != std::string_view::npos; ++i) {
      if (text[i] == '#') spec.alternate = true;
      if (text[i] == '0') zero = true;
      if (text[i] == '-') left = true;
      if (text[i] == ' ' && spec.sign == '-') spec.sign = ' ';
      if (text[i] == '+') spec.sign = '+';
    }
    spec.width = star_or_number(text, i);
    if (spec.width < 0) left = true;
    spec.width = std::abs(spec.width);
    if (i < text.size() && text[i] == '.') spec.precision = std::max<int64_t>(star_or_number(text, ++i), 0);
    while (i < text.size() && (text[i] == 'h' || text[i] == 'l' || text[i] == 'L')) ++i;
    if (i >= text.size()) refuse("incomplete format");
    char type = text[i++];
    if (type == '%') {
      out_ += '%';
      return;
    }
    if (left) {
      spec.align = '<';
    } else if (zero && type != 's' && type != 'r' && type != 'c' && type != 'a') {
      spec.fill = "0";
      spec.align = '=';
    } else {
      spec.align = '>';
    }
    out_ += converted(type, named ? *named : next_argument(), spec);
  }

  int64_t star_or_number(const std::string& text, size_t& i) {
    if (i >= text.size() || text[i] != '*') return read_number(text, i);
    ++i;
    int64_t value = to_index(next_argument());
    if (value > kMaxWidth || value < -kMaxWidth) refuse("a width in a format is larger than {}", kMaxWidth);
    return value;
  }

  std::string converted(char type, const Value& value, Specification& spec) {
    switch (type) {
      case 's':
      case 'r':
      case 'a': {
        std::string text = type == 's' ? to_text(value) : representation(value);
        if (format_.is_markup() && !value.is_markup()) text = escape_html(text);
        spec.sign = '-';
        spec.alternate = false;
        return format_string(std::move(text), spec);
      }
      case 'c': {
        if (value.is_string() && value.string().code_points == 1) return padded(value.text(), spec, '>');
        std::optional<std::string> text = character_of(value);
        if (!text) refuse("%c requires int or char");
        return padded(std::move(*text), spec, '>');
      }
      case 'd':
      case 'i':
      case 'u':
        return whole(value, spec, '\0', type);
      case 'x':
      case 'X':
      case 'o':
        return whole(value, spec, type, type);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (value.is_undefined()) refuse_undefined(value);
        if (!value.is_number()) refuse("must be real number, not {}", type_name(value));
        spec.type = type;
        return format_real(value.real(), spec);
      default:
        refuse("unsupported format character '{}'", type);
    }
  }

  static std::string whole(const Value& value, Specification& spec, char type, char shown) {
    if (value.is_undefined()) refuse_undefined(value);
    if (!value.is_integral() && !(value.is_float() && type == '\0' && std::isfinite(value.real()))) {
      refuse("%{} format: a real number is required, not {}", shown, type_name(value));
    }
    spec.type = type;
    int64_t digits = spec.precision.value_or(0);  // the precision of an integer is its least number of digits
    spec.precision.reset();
    const Value number = value.is_float() ? whole_part(value.real()) : value;
    const bool negative = is_negative(number);
    if (digits == 0) return format_integer(number, spec);
    Specification inner;
    inner.type = type;
    inner.fill = "0";
    inner.align = '=';
    inner.width = digits + (negative ? 1 : 0);
    std::string text = format_integer(number, inner);
    std::string front = !negative && spec.sign != '-' ? std::string(1, spec.sign) : "";
    return padded(front + text, spec, '>', front.size() + (negative ? 1 : 0));
  }

  const Value& format_;
  const Value& arguments_;
  size_t used_ = 0;
  std::string out_;
};

// "{...}" fields.
class BraceFormatter {
 public:
  BraceFormatter(Interpreter& interpreter, const Arguments& arguments, bool markup)
      : interpreter_(interpreter), arguments_(arguments), markup_(markup) {}

  std::string run(std::string_view text, int depth) {
    if (depth < 0) refuse("Max string recursion exceeded");
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      char c = text[i];
      bool doubled = i + 1 < text.size() && text[i + 1] == c;
      if ((c == '{' || c == '}') && doubled) {
        out += c;
        ++i;
      } else if (c == '}') {
        refuse("Single '}}' encountered in format string");
      } else if (c == '{') {
        out += field(text, i, depth);
        check_string_size(out.size());
      } else {
        out += c;
      }
    }
    return out;
  }

 private:
  std::string field(std::string_view text, size_t& i, int depth) {
    size_t begin = i + 1;
    int open = 1;
    for (i = begin; i < text.size(); ++i) {
      if (text[i] == '{') ++open;
      if (text[i] == '}' && --open == 0) break;
    }
    if (open != 0) refuse("expected '}}' before end of string");
    std::string_view inside = text.substr(begin, i - begin);
    size_t name_end = std::min(inside.find_first_of("!:"), inside.size());
    Value value = resolve(inside.substr(0, name_end));
    std::string_view rest = inside.substr(name_end);
    if (!rest.empty() && rest[0] == '!') {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) refuse("expected ':' after conversion specifier");
      if (rest[1] == 's')
        value = Value(to_text(value));
      else if (rest[1] == 'r' || rest[1] == 'a')
        value = Value(representation(value));
      else
        refuse("Unknown conversion specifier {}", rest[1]);
      rest.remove_prefix(2);
    }
    std::string specification = rest.empty() ? "" : run(rest.substr(1), depth - 1);
    std::string formatted = format_value(value, specification);
    return markup_ && !value.is_markup() ? escape_html(formatted) : formatted;
  }

  Value resolve(std::string_view name) {
    size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, first_end));
    std::string_view rest = name.substr(first_end);
    while (!rest.empty()) {
      if (rest[0] == '.') {
        size_t end = std::min(rest.find_first_of(".[", 1), rest.size());
        value = interpreter_.attribute(value, rest.substr(1, end - 1));
        rest.remove_prefix(end);
      } else {
        size_t close = rest.find(']');
        if (rest[0] != '[' || close == std::string_view::npos) refuse("Missing ']' in format string");
        std::string_view key = rest.substr(1, close - 1);
        value = interpreter_.item(value, is_number(key) ? Value(to_number(key)) : Value(key));
        rest.remove_prefix(close + 1);
      }
    }
    return value;
  }

  Value argument(std::string_view name) {
    bool automatic = name.empty();
    if (automatic || is_number(name)) {
      if (numbering_ != '\0' && (numbering_ == 'a') != automatic) {
        refuse("cannot switch between automatic field numbering and manual field specification");
      }
      numbering_ = automatic ? 'a' : 'm';
      auto index = static_cast<size_t>(automatic ? next_++ : to_number(name));
      if (index >= arguments_.positional.size())
        refuse("Replacement index {} out of range for positional args tuple", index);
      return arguments_.positional[index];
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    refuse("{}", quoted_text(name));
  }

  static bool is_number(std::string_view text) {
    return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string_view::npos;
  }
  static int64_t to_number(std::string_view text) {
    size_t position = 0;
    return read_number(text, position);
  }

  Interpreter& interpreter_;
  const Arguments& arguments_;
  bool markup_;
  int64_t next_ = 0;
  char numbering_ = '\0';
};

}  // namespace

Value format_percent(const Value& format, const Value& arguments) { return PercentFormatter(format, arguments).run(); }

Value format_braces(Interpreter& interpreter, const Value& format, const Arguments& arguments) {
  return Value(BraceFormatter(interpreter, arguments, format.is_markup()).run(format.text(), 1), format.is_markup());
}

std::string format_value(const Value& value, std::string_view specification) {
  if (specification.empty()) return to_text(value);
  if (value.is_string() || value.is_number()) {
    Specification spec = parse_specification(specification);
    if (value.is_string()) return format_string(value.text(), spec);
    if (value.is_bool() && spec.type == '\0') return format_string(to_text(value), spec);
    bool real_type = spec.type != '\0' && std::string_view("fFeEgG%").find(spec.type) != std::string_view::npos;
    if (value.is_float() || real_type) return format_real(value.real(), spec);
    if (spec.type == 'c') {
      std::optional<std::string> text = character_of(value);
      if (!text) refuse("%c arg not in range(0x110000)");
      return padded(std::move(*text), spec, '<');
    }
    if (spec.type != '\0' && std::string_view("dboxXn").find(spec.type) == std::string_view::npos) {
      refuse("Unknown format code '{}' for object of type 'int'", spec.type);
    }
    return format_integer(value, spec);
  }
  refuse("unsupported format string passed to {}.__format__", type_name(value));
}

}  // namespace updraft::text::jinja
