#include <algorithm>
#include <array>
#include <cstddef>

#include "text/jinja/arguments.h"
#include "text/jinja/formatting.h"
#include "text/jinja/limits.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

Value same_kind(const Value& self, std::string text) { return Value(std::move(text), self.is_markup()); }

Value change(const Value& self, const Arguments& arguments, std::string (*operation)(std::string_view)) {
  takes_nothing(arguments, "str method");
  return same_kind(self, operation(self.text()));
}

Value strip(const Value& self, const Arguments& arguments, Side side) {
  Bound bound(arguments, "strip", {""});
  bool spaces = !bound.has(0) || bound[0].is_none();
  return same_kind(
      self, std::string(spaces ? strip_spaces(self.text(), side) : strip_characters(self.text(), bound.text(0), side)));
}

// Python's test of every character; an empty text fails it.
Value all_characters(const Value& self, const Arguments& arguments, bool (*holds)(char32_t)) {
  takes_nothing(arguments, "str method");
  const std::string& text = self.text();
  for (size_t i = 0; i < text.size(); i += character_bytes(text, i)) {
    if (!holds(code_point_at(text, i))) return false;
  }
  return !text.empty();
}

// The part of the text that the arguments `start` and `end` select, in bytes; nothing where start is past the end.
struct Window {
  size_t begin, end;
  bool inside;
};
Window window_of(const Value& self, const Bound& bound) {
  int64_t length = self.string().code_points;
  auto place = [&](size_t index, int64_t otherwise) {
    if (!bound.has(index) || bound[index].is_none()) return otherwise;
    int64_t position = bound.integer(index);
    if (position < 0) position = position < -length ? 0 : position + length;
    return position;
  };
  int64_t start = place(1, 0);
  int64_t end = std::min(place(2, length), length);
  if (start > length || start > end) return {0, 0, false};
  return {byte_offset(self.text(), start), byte_offset(self.text(), end), true};
}

int64_t find_in(const Value& self, const Arguments& arguments, const char* name, bool from_right) {
  Bound bound(arguments, name, {"", "", ""}, 1);
  const std::string& wanted = bound.text(0);
  Window window = window_of(self, bound);
  if (!window.inside) return -1;
  std::string_view text = std::string_view(self.text()).substr(0, window.end);
  size_t found = from_right ? text.rfind(wanted) : text.find(wanted, window.begin);
  if (found == std::string_view::npos || found < window.begin) return -1;
  return count_characters(text.substr(0, found));
}

int64_t index_in(const Value& self, const Arguments& arguments, const char* name, bool from_right) {
  int64_t found = find_in(self, arguments, name, from_right);
  if (found < 0) refuse("substring not found");
  return found;
}

Value count_in(Interpreter&, const Value& self, const Arguments& arguments) {
  Bound bound(arguments, "count", {"", "", ""}, 1);
  const std::string& wanted = bound.text(0);
  Window window = window_of(self, bound);
  if (!window.inside) return 0;
  std::string_view text = std::string_view(self.text()).substr(window.begin, window.end - window.begin);
  if (wanted.empty()) return count_characters(text) + 1;
  int64_t count = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos; at = text.find(wanted, at + wanted.size())) ++count;
  return count;
}

Value has_affix(const Value& self, const Arguments& arguments, bool prefix) {
  Bound bound(arguments, prefix ? "startswith" : "endswith", {"", "", ""}, 1);
  Window window = window_of(self, bound);
  std::string_view text = std::string_view(self.text()).substr(window.begin, window.end - window.begin);
  std::vector<Value> wanted = bound[0].is_tuple() ? bound[0].items() : std::vector<Value>{bound[0]};
  bool found = false;
  for (const Value& affix : wanted) {
    if (affix.is_undefined()) refuse_undefined(affix);
    if (!affix.is_string()) {
      refuse("{} first arg must be str or a tuple of str, not {}", prefix ? "startswith" : "endswith",
             type_name(affix));
    }
    found |= window.inside && (prefix ? text.starts_with(affix.text()) : text.ends_with(affix.text()));
  }
  return found;
}

Value remove_affix(const Value& self, const Arguments& arguments, bool prefix) {
  Bound bound(arguments, prefix ? "removeprefix" : "removesuffix", {""}, 1);
  std::string_view text = self.text();
  const std::string& affix = bound.text(0);
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return same_kind(self, std::string(text));
}

Value split(const Value& self, const Arguments& arguments, bool from_right) {
  Bound bound(arguments, "split", {"sep", "maxsplit"});
  return split_text(self, bound.value(0, None{}), bound.integer(1, -1), from_right);
}

Value partition(const Value& self, const Arguments& arguments, bool from_right) {
  Bound bound(arguments, "partition", {""}, 1);
  const std::string& separator = bound.text(0);
  if (separator.empty()) refuse("empty separator");
  const std::string& text = self.text();
  size_t found = from_right ? text.rfind(separator) : text.find(separator);
  if (found == std::string::npos) {
    return from_right ? Value::tuple({"", "", self}) : Value::tuple({self, "", ""});
  }
  return Value::tuple({same_kind(self, text.substr(0, found)), same_kind(self, separator),
                       same_kind(self, text.substr(found + separator.size()))});
}

Value replace(Interpreter&, const Value& self, const Arguments& arguments) {
  Bound bound(arguments, "replace", {"", "", "count"}, 2);
  std::string fresh = bound.text(1);
  if (self.is_markup() && !bound[1].is_markup()) fresh = escape_html(fresh);
  return same_kind(self, replace_text(self.text(), bound.text(0), fresh, bound.integer(2, -1)));
}

Value join(Interpreter&, const Value& self, const Arguments& arguments) {
  Bound bound(arguments, "join", {""}, 1);
  std::vector<Value> items = to_vector(bound[0]);
  if (self.is_markup()) {
    for (Value& item : items) item = Value(item.is_markup() ? item.text() : escape_html(to_text(item)), true);
  }
  return same_kind(self, join_texts(self.text(), items, false));
}

std::string fill_of(const Bound& bound) {
  std::string fill = bound.text(1, " ");
  if (count_characters(fill) != 1) refuse("The fill character must be exactly one character long");
  return fill;
}

std::string repeated(std::string_view text, int64_t times) {
  if (times > 0) check_string_size(static_cast<uint64_t>(times) + text.size());
  std::string out;
  for (; times > 0; --times) out += text;
  return out;
}

Value justify(const Value& self, const Arguments& arguments, bool left) {
  Bound bound(arguments, left ? "ljust" : "rjust", {"", ""}, 1);
  int64_t width = bound.integer(0);
  std::string padding =
      width > self.string().code_points ? repeated(fill_of(bound), width - self.string().code_points) : "";
  return same_kind(self, left ? self.text() + padding : padding + self.text());
}

Value center(Interpreter&, const Value& self, const Arguments& arguments) {
  Bound bound(arguments, "center", {"", ""}, 1);
  return same_kind(self, center_text(self.text(), bound.integer(0), fill_of(bound)));
}

Value zero_fill(Interpreter&, const Value& self, const Arguments& arguments) {
  Bound bound(arguments, "zfill", {""}, 1);
  int64_t width = bound.integer(0);
  const std::string& text = self.text();
  int64_t missing = width > self.string().code_points ? width - self.string().code_points : 0;
  size_t sign = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  return same_kind(self, text.substr(0, sign) + repeated("0", missing) + text.substr(sign));
}

Value expand_tabs(Interpreter&, const Value& self, const Arguments& arguments) {
  Bound bound(arguments, "expandtabs", {"tabsize"});
  int64_t size = bound.integer(0, 8);
  std::string out;
  int64_t column = 0;
  for (std::string_view character : characters(self.text())) {
    if (character == "\t") {
      int64_t spaces = size > 0 ? size - column % size : 0;
      out += repeated(" ", spaces);
      column += spaces;
    } else {
      out += character;
      column = character == "\n" || character == "\r" ? 0 : column + 1;
    }
    check_string_size(out.size());
  }
  return same_kind(self, std::move(out));
}

Value is_title_text(Interpreter&, const Value& self, const Arguments& arguments) {
  takes_nothing(arguments, "istitle");
  bool any = false, after_cased = false;
  for (std::string_view character : characters(self.text())) {
    char32_t c = code_point_at(character, 0);
    if (is_upper(c) || is_title(c)) {
      if (after_cased) return false;
      after_cased = any = true;
    } else if (is_lower(c)) {
      if (!after_cased) return false;
      any = true;
    } else {
      after_cased = false;
    }
  }
  return any;
}

Value is_identifier(Interpreter&, const Value& self, const Arguments& arguments) {
  takes_nothing(arguments, "isidentifier");
  bool first = true;
  for (std::string_view character : characters(self.text())) {
    char32_t c = code_point_at(character, 0);
    if (!(c == '_' || is_alphabetic(c) || (!first && is_decimal(c)))) return false;
    first = false;
  }
  return !first;
}

Value is_ascii(Interpreter&, const Value& self, const Arguments& arguments) {
  takes_nothing(arguments, "isascii");
  return self.text().size() == static_cast<size_t>(self.string().code_points);
}

Value is_printable_text(Interpreter&, const Value& self, const Arguments& arguments) {
  return self.text().empty() ? Value(true) : all_characters(self, arguments, is_printable);
}

struct NamedMethod {
  std::string_view name;
  Method method;
};

template <std::string (*kOperation)(std::string_view)>
Value changed(Interpreter&, const Value& self, const Arguments& a) {
  return change(self, a, kOperation);
}
template <Side kSide>
Value stripped(Interpreter&, const Value& self, const Arguments& a) {
  return strip(self, a, kSide);
}
template <bool (*kHolds)(char32_t)>
Value tested(Interpreter&, const Value& self, const Arguments& a) {
  return all_characters(self, a, kHolds);
}
template <bool kFlag, Value (*kOperation)(const Value&, const Arguments&, bool)>
Value flagged(Interpreter&, const Value& self, const Arguments& a) {
  return kOperation(self, a, kFlag);
}
template <bool kUpper>
Value has_case(Interpreter&, const Value& self, const Arguments& a) {
  takes_nothing(a, "str method");
  return test_case(self.text(), kUpper);
}
template <bool kRight>
Value found(Interpreter&, const Value& self, const Arguments& a) {
  return find_in(self, a, "find", kRight);
}
template <bool kRight>
Value indexed(Interpreter&, const Value& self, const Arguments& a) {
  return index_in(self, a, "index", kRight);
}

bool is_alphanumeric(char32_t c) { return is_alphabetic(c) || is_numeric(c) || is_decimal(c) || is_digit(c); }

Value lines_of(Interpreter&, const Value& self, const Arguments& a) {
  Bound bound(a, "splitlines", {"keepends"});
  return split_lines(self, bound.flag(0, false));
}

Value format_map(Interpreter& interpreter, const Value& self, const Arguments& a) {
  Bound bound(a, "format_map", {""}, 1);
  if (!bound[0].is_dict()) refuse("format_map() needs a mapping, not {}", type_name(bound[0]));
  Arguments named;
  for (const auto& [key, value] : bound[0].dict().entries()) {
    if (key.is_string()) named.named.emplace_back(key.text(), value);
  }
  return format_braces(interpreter, self, named);
}

constexpr NamedMethod kMethods[] = {
    {"capitalize", changed<to_capitalized>},
    {"casefold", changed<to_casefold>},
    {"center", center},
    {"count", count_in},
    {"endswith", flagged<false, has_affix>},
    {"expandtabs", expand_tabs},
    {"find", found<false>},
    {"format", [](Interpreter& i, const Value& self, const Arguments& a) { return format_braces(i, self, a); }},
    {"format_map", format_map},
    {"index", indexed<false>},
    {"isalnum", tested<is_alphanumeric>},
    {"isalpha", tested<is_alphabetic>},
    {"isascii", is_ascii},
    {"isdecimal", tested<is_decimal>},
    {"isdigit", tested<is_digit>},
    {"isidentifier", is_identifier},
    {"islower", has_case<false>},
    {"isnumeric", tested<is_numeric>},
    {"isprintable", is_printable_text},
    {"isspace", tested<is_space>},
    {"istitle", is_title_text},
    {"isupper", has_case<true>},
    {"join", join},
    {"ljust", flagged<true, justify>},
    {"lower", changed<to_lower>},
    {"lstrip", stripped<Side::kLeft>},
    {"partition", flagged<false, partition>},
    {"removeprefix", flagged<true, remove_affix>},
    {"removesuffix", flagged<false, remove_affix>},
    {"replace", replace},
    {"rfind", found<true>},
    {"rindex", indexed<true>},
    {"rjust", flagged<false, justify>},
    {"rpartition", flagged<true, partition>},
    {"rsplit", flagged<true, split>},
    {"rstrip", stripped<Side::kRight>},
    {"split", flagged<false, split>},
    {"splitlines", lines_of},
    {"startswith", flagged<true, has_affix>},
    {"strip", stripped<Side::kBoth>},
    {"swapcase", changed<swap_case>},
    {"title", changed<to_title>},
    {"upper", changed<to_upper>},
    {"zfill", zero_fill},
};

}  // namespace

Method find_string_method(std::string_view name) {
  for (const NamedMethod& entry : kMethods) {
    if (entry.name == name) return entry.method;
  }
  return nullptr;
}

}  // namespace updraft::text::jinja
