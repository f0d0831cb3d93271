#include "text/jinja/write_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/integers.h"
#include "text/jinja/unicode.h"

namespace updraft::text::jinja {
namespace {

constexpr int kMaxRepresentationDepth = 300;  // a namespace may hold itself

void append_representation(std::string& out, const Value& value, int depth);

void append_items(std::string& out, const std::vector<Value>& items, int depth) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) out += ", ";
    first = false;
    append_representation(out, item, depth);
    check_string_size(out.size());
  }
}

void append_dict(std::string& out, const Dict& dict, int depth) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out += ", ";
    first = false;
    append_representation(out, key, depth);
    out += ": ";
    append_representation(out, value, depth);
    check_string_size(out.size());
  }
  out += '}';
}

void append_representation(std::string& out, const Value& value, int depth) {
  if (depth > kMaxRepresentationDepth) refuse("maximum recursion depth exceeded while writing a value");
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      out += "Undefined";
      break;
    case Value::Kind::kString:
      out += value.is_markup() ? "Markup(" + quoted_text(value.text()) + ")" : quoted_text(value.text());
      break;
    case Value::Kind::kList:
      out += '[';
      append_items(out, value.items(), depth + 1);
      out += ']';
      break;
    case Value::Kind::kTuple:
      out += '(';
      append_items(out, value.items(), depth + 1);
      out += value.items().size() == 1 ? ",)" : ")";
      break;
    case Value::Kind::kDict:
      append_dict(out, value.dict(), depth + 1);
      break;
    case Value::Kind::kObject:
      out += value.object()->representation(depth + 1);
      break;
    default:
      out += to_text(value);
  }
}

void append_hex(std::string& out, char32_t c) {
  out += c < 0x100     ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c))
         : c < 0x10000 ? fmt::format("\\u{:04x}", static_cast<uint32_t>(c))
                       : fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::kNone:
        out_ += "null";
        break;
      case Value::Kind::kBool:
        out_ += value.boolean() ? "true" : "false";
        break;
      case Value::Kind::kInt:
      case Value::Kind::kBigInt:
        out_ += to_text(value);
        break;
      case Value::Kind::kFloat:
        out_ += number(value.real());
        break;
      case Value::Kind::kString:
        write_string(value.text());
        break;
      case Value::Kind::kList:
      case Value::Kind::kTuple:
        write_list(value.items());
        break;
      case Value::Kind::kDict:
        write_dict(value.dict());
        break;
      default:
        refuse("Object of type {} is not JSON serializable", type_name(value));
    }
    check_string_size(out_.size());
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return float_text(value);
  }

  void write_string(std::string_view text) {
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      size_t bytes = character_bytes(text, i);
      append_character(text.substr(i, bytes));
      i += bytes;
    }
    out_ += '"';
  }

  void append_character(std::string_view character) {
    char32_t c = code_point_at(character, 0);
    switch (c) {
      case '"':
        out_ += "\\\"";
        return;
      case '\\':
        out_ += "\\\\";
        return;
      case '\n':
        out_ += "\\n";
        return;
      case '\r':
        out_ += "\\r";
        return;
      case '\t':
        out_ += "\\t";
        return;
      case '\f':
        out_ += "\\f";
        return;
      case '\b':
        out_ += "\\b";
        return;
      default:
        break;
    }
    if (c >= 0x20 && (c < 0x7F || !style_.ensure_ascii)) {
      out_ += character;
    } else if (c < 0x10000) {
      out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      uint32_t offset = static_cast<uint32_t>(c) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF));
    }
  }

  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
    check_string_size(out_.size());
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      write(items[i]);
    }
    --level_;
    new_line();
    out_ += ']';
  }

  static std::string key_text(const Value& key) {
    switch (key.kind()) {
      case Value::Kind::kString:
        return key.text();
      case Value::Kind::kNone:
        return "null";
      case Value::Kind::kBool:
        return key.boolean() ? "true" : "false";
      case Value::Kind::kInt:
      case Value::Kind::kBigInt:
        return to_text(key);
      case Value::Kind::kFloat:
        return number(key.real());
      default:
        refuse("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
  }

  void write_dict(const Dict& dict) {
    if (dict.size() == 0) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& entry : dict.entries()) order.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(order.begin(), order.end(),
                       [](const auto* a, const auto* b) { return less(a->first, b->first); });
    }
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      write_string(key_text(order[i]->first));
      out_ += style_.key_separator;
      write(order[i]->second);
    }
    --level_;
    new_line();
    out_ += '}';
  }

  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string to_text(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return "";
    case Value::Kind::kNone:
      return "None";
    case Value::Kind::kBool:
      return value.boolean() ? "True" : "False";
    case Value::Kind::kInt:
      return fmt::format("{}", value.integer());
    case Value::Kind::kBigInt:
      return (is_negative(value) ? "-" : "") + digits_of(value, 10);
    case Value::Kind::kFloat:
      return float_text(value.real());
    case Value::Kind::kString:
      return value.text();
    default:
      return representation(value);
  }
}

std::string representation(const Value& value, int depth) {
  std::string out;
  append_representation(out, value, depth);
  return out;
}

std::string quoted_text(std::string_view text) {
  bool has_single = text.find('\'') != std::string_view::npos;
  char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    size_t bytes = character_bytes(text, i);
    char32_t c = code_point_at(text, i);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(i, bytes);
    } else {
      append_hex(out, c);
    }
    i += bytes;
  }
  out += quote;
  return out;
}

// The shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  double magnitude = std::fabs(value);
  bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                           scientific ? std::chars_format::scientific : std::chars_format::fixed)
                 .ptr;
  std::string text(buffer, end);
  if (!scientific && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value);
  return writer.take();
}

}  // namespace updraft::text::jinja
