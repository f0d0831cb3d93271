// Filters on text.
#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/formatting.h"
#include "text/jinja/limits.h"
#include "text/jinja/methods.h"
#include "text/jinja/unicode.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

// The text of any value; escaped text stays marked as such.
Value soft_text(const Value& value) { return value.is_string() ? value : Value(to_text(value)); }

template <std::string (*kOperation)(std::string_view)>
Value changed(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "filter");
  Value text = soft_text(operand);
  return Value(kOperation(text.text()), text.is_markup());
}

Value escape(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "escape");
  return operand.is_markup() ? operand : Value(escape_html(to_text(operand)), true);
}

Value force_escape(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "forceescape");
  return Value(escape_html(to_text(operand)), true);
}

Value mark_safe(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "safe");
  return Value(to_text(operand), true);
}

Value to_string(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "string");
  return soft_text(operand);
}

Value center(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "center", {"width"});
  Value text = soft_text(operand);
  return Value(center_text(text.text(), bound.integer(0, 80), " "), text.is_markup());
}

Value format(Interpreter&, const Value& operand, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    refuse("can't handle positional and keyword arguments at the same time");
  }
  if (arguments.named.empty()) return format_percent(soft_text(operand), Value::tuple(arguments.positional));
  Dict named;
  for (const auto& [name, value] : arguments.named) named.set(Value(name), value);
  return format_percent(soft_text(operand), Value::dict(std::move(named)));
}

Value indent(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "indent", {"width", "first", "blank"});
  if (operand.is_undefined()) refuse_undefined(operand);
  if (!operand.is_string()) refuse("unsupported operand type(s) for +=: '{}' and 'str'", type_name(operand));
  std::string indention = bound.has(0) && bound[0].is_string() ? bound[0].text() : "";
  if (!bound.has(0) || !bound[0].is_string()) {
    int64_t width = std::max<int64_t>(bound.integer(0, 4), 0);
    check_string_size(static_cast<uint64_t>(width));
    indention.assign(static_cast<size_t>(width), ' ');
  }
  Value lines = split_lines(Value(operand.text() + "\n"), false);
  bool blank = bound.flag(2, false);
  std::string out = bound.flag(1, false) ? indention : "";
  for (size_t i = 0; i < lines.items().size(); ++i) {
    const std::string& line = lines.items()[i].text();
    if (i > 0) out += "\n";
    if (i > 0 && (blank || !line.empty())) out += indention;
    out += line;
    check_string_size(out.size());
  }
  return Value(std::move(out), operand.is_markup());
}

Value replace(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "replace", {"old", "new", "count"}, 2);
  int64_t count = bound.has(2) && !bound[2].is_none() ? bound.integer(2) : -1;
  return Value(replace_text(to_text(operand), to_text(bound[0]), to_text(bound[1]), count));
}

Value strip_tags(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "striptags");
  std::string text = to_text(operand);
  std::string kept;
  for (size_t i = 0; i < text.size();) {
    bool comment = text.compare(i, 4, "<!--") == 0;
    size_t end = comment ? text.find("-->", i + 4) : text[i] == '<' ? text.find('>', i) : std::string::npos;
    if (end == std::string::npos) {
      kept += text[i++];
    } else {
      i = end + (comment ? 3 : 1);
    }
  }
  Value words = split_text(Value(kept), None{}, -1, false);
  std::string out;  // runs of spaces become one
  for (const Value& word : words.items()) out += (out.empty() ? "" : " ") + word.text();
  for (auto [entity, character] : {std::pair("&lt;", "<"), std::pair("&gt;", ">"), std::pair("&#34;", "\""),
                                   std::pair("&quot;", "\""), std::pair("&#39;", "'"), std::pair("&amp;", "&")}) {
    out = replace_text(out, entity, character, -1);
  }
  return Value(std::move(out));
}

Value trim(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "trim", {"chars"});
  Value text = soft_text(operand);
  bool spaces = !bound.has(0) || bound[0].is_none();
  return Value(std::string(spaces ? strip_spaces(text.text()) : strip_characters(text.text(), bound.text(0))),
               text.is_markup());
}

// Every word begins with a capital; words end at spaces, hyphens and opening brackets.
Value title(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "title");
  std::string text = to_text(operand);
  std::string out, word;
  auto flush = [&] {
    if (word.empty()) return;
    size_t first = character_bytes(word, 0);
    out += to_upper(std::string_view(word).substr(0, first)) + to_lower(std::string_view(word).substr(first));
    word.clear();
  };
  for (std::string_view character : characters(text)) {
    char32_t c = code_point_at(character, 0);
    if (is_space(c) ||
        std::string_view("-({[<").find(static_cast<char>(c < 0x80 ? c : 'x')) != std::string_view::npos) {
      flush();
      out += character;
    } else {
      word += character;
    }
  }
  flush();
  return Value(std::move(out));
}

Value truncate(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "truncate", {"length", "killwords", "end", "leeway"});
  std::string end = bound.text(2, "...");
  int64_t length = bound.integer(0, 255);
  int64_t leeway = bound.has(3) && !bound[3].is_none() ? bound.integer(3) : 5;
  int64_t kept = length - count_characters(end);
  if (kept < 0) refuse("expected length >= {}, got {}", count_characters(end), length);
  if (leeway < 0) refuse("expected leeway >= 0, got {}", leeway);
  std::optional<int64_t> size = length_of(operand);
  if (!size) refuse("object of type '{}' has no len()", type_name(operand));
  if (*size <= length || *size - length <= leeway) return operand;
  if (!operand.is_string()) refuse("'{}' object cannot be truncated", type_name(operand));
  std::string result = operand.text().substr(0, byte_offset(operand.text(), kept));
  if (!bound.flag(1, false)) {
    size_t space = result.rfind(' ');
    if (space != std::string::npos) result.resize(space);
  }
  return Value(operand.is_markup() ? result + escape_html(end) : result + end, operand.is_markup());
}

std::string percent_encoded(std::string_view text, bool for_query) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    bool plain = byte < 0x80 && (std::isalnum(byte) || c == '_' || c == '.' || c == '-' || c == '~');
    if (plain || (c == '/' && !for_query)) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

Value url_encode(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "urlencode");
  if (operand.is_string() || !is_iterable(operand)) return Value(percent_encoded(to_text(operand), false));
  std::vector<std::pair<Value, Value>> pairs;
  if (operand.is_dict()) {
    pairs = operand.dict().entries();
  } else {
    for (const Value& entry : to_vector(operand)) {
      std::vector<Value> pair = to_vector(entry);
      if (pair.size() != 2) refuse("not enough values to unpack (expected 2, got {})", pair.size());
      pairs.emplace_back(pair[0], pair[1]);
    }
  }
  std::string out;
  for (const auto& [key, value] : pairs) {
    if (!out.empty()) out += '&';
    out += percent_encoded(to_text(key), true) + "=" + percent_encoded(to_text(value), true);
  }
  return Value(std::move(out));
}

Value count_words(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "wordcount");
  std::string text = to_text(operand);
  int64_t count = 0;
  bool inside = false;
  for (std::string_view character : characters(text)) {
    char32_t c = code_point_at(character, 0);
    bool word = c == '_' || is_alphabetic(c) || is_numeric(c);
    if (word && !inside) ++count;
    inside = word;
  }
  return count;
}

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

constexpr NamedFilter kFilters[] = {
    {"capitalize", changed<to_capitalized>},
    {"center", center},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"lower", changed<to_lower>},
    {"replace", replace},
    {"safe", mark_safe},
    {"string", to_string},
    {"striptags", strip_tags},
    {"title", title},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", changed<to_upper>},
    {"urlencode", url_encode},
    {"wordcount", count_words},
};

}  // namespace

Filter find_text_filter(std::string_view name) {
  for (const NamedFilter& entry : kFilters) {
    if (entry.name == name) return entry.filter;
  }
  return nullptr;
}

}  // namespace updraft::text::jinja
