// Values as text, the three ways Python writes them: str(), repr() and json.dumps().
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

std::string to_text(const Value&);                        // str(): what {{ }} prints
std::string representation(const Value&, int depth = 0);  // repr(); depth: of the values around it
std::string quoted_text(std::string_view text);           // repr() of a string
std::string float_text(double value);                     // repr() of a float
std::string escape_html(std::string_view text);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level; set: every item on its own line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(const Value&, const JsonStyle&);  // throws TemplateError for what JSON cannot hold

}  // namespace updraft::text::jinja
