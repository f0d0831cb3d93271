// Work on text that methods and filters share (declared in methods.h).
#include <algorithm>
#include <utility>

#include "text/jinja/methods.h"
#include "text/jinja/unicode.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

// Words between spaces. With a limit, what remains keeps its spaces on the outer side.
std::vector<std::string_view> split_spaces(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::pair<size_t, size_t>> words;
  bool inside = false;
  for (size_t i = 0; i < text.size(); i += character_bytes(text, i)) {
    bool space = is_space(code_point_at(text, i));
    if (!space && !inside) words.emplace_back(i, text.size());
    if (space && inside) words.back().second = i;
    inside = !space;
  }
  size_t rest = limit < 0 || words.size() <= static_cast<size_t>(limit) ? 0 : words.size() - static_cast<size_t>(limit);
  std::vector<std::string_view> parts;
  if (rest > 0 && from_right) parts.push_back(text.substr(0, words[rest - 1].second));
  size_t first = from_right ? rest : 0;
  size_t last = from_right ? words.size() : words.size() - rest;
  for (size_t i = first; i < last; ++i) parts.push_back(text.substr(words[i].first, words[i].second - words[i].first));
  if (rest > 0 && !from_right) parts.push_back(text.substr(words[last].first));
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right) {
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    size_t found = from_right ? text.rfind(separator) : text.find(separator);
    if (found == std::string_view::npos) break;
    parts.push_back(from_right ? text.substr(found + separator.size()) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(found + separator.size());
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

Value list_of(const std::vector<std::string_view>& parts, bool markup) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (std::string_view part : parts) items.emplace_back(std::string(part), markup);
  return Value::list(std::move(items));
}

}  // namespace

Value split_text(const Value& text, const Value& separator, int64_t limit, bool from_right) {
  if (separator.is_undefined()) refuse_undefined(separator);
  if (separator.is_none()) return list_of(split_spaces(text.text(), limit, from_right), text.is_markup());
  if (!separator.is_string()) refuse("must be str or None, not {}", type_name(separator));
  if (separator.text().empty()) refuse("empty separator");
  return list_of(split_at(text.text(), separator.text(), limit, from_right), text.is_markup());
}

Value split_lines(const Value& value, bool keep_ends) {
  std::string_view text = value.text();
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    size_t bytes = character_bytes(text, i);
    if (!ends_line(code_point_at(text, i))) {
      i += bytes;
      continue;
    }
    size_t end = i + bytes;
    if (text[i] == '\r' && end < text.size() && text[end] == '\n') ++end;
    lines.push_back(text.substr(begin, (keep_ends ? end : i) - begin));
    begin = i = end;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return list_of(lines, value.is_markup());
}

std::string replace_text(std::string_view text, std::string_view old, std::string_view fresh, int64_t count) {
  std::string out;
  auto may_replace = [&] { return count < 0 || count-- > 0; };
  if (old.empty()) {  // between all characters
    for (std::string_view character : characters(text)) {
      if (may_replace()) out += fresh;
      out += character;
      check_string_size(out.size());
    }
    if (may_replace()) out += fresh;
    return out;
  }
  size_t position = 0;
  for (size_t found; (found = text.find(old, position)) != std::string_view::npos && may_replace();) {
    out += text.substr(position, found - position);
    out += fresh;
    check_string_size(out.size());
    position = found + old.size();
  }
  out += text.substr(position);
  return out;
}

// The odd space goes left when both the width and the missing number are odd, as in CPython.
std::string center_text(std::string_view text, int64_t width, std::string_view fill) {
  int64_t missing = width - count_characters(text);
  if (missing <= 0) return std::string(text);
  check_string_size(static_cast<uint64_t>(missing) * fill.size() + text.size());
  int64_t left = missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

std::string join_texts(std::string_view separator, const std::vector<Value>& items, bool convert) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!convert && !items[i].is_string()) {
      refuse("sequence item {}: expected str instance, {} found", i, type_name(items[i]));
    }
    if (i > 0) out += separator;
    out += to_text(items[i]);
    check_string_size(out.size());
  }
  return out;
}

bool test_case(std::string_view text, bool upper) {
  bool any = false;
  for (size_t i = 0; i < text.size(); i += character_bytes(text, i)) {
    char32_t c = code_point_at(text, i);
    if (is_title(c) || (upper ? is_lower(c) : is_upper(c))) return false;
    any |= upper ? is_upper(c) : is_lower(c);
  }
  return any;
}

}  // namespace updraft::text::jinja
