// Methods of Python's built-in types, and the sandbox around attributes: what changes a value or reaches into the
// interpreter is undefined, with an error when it is used.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

Value make_function(std::string name, Function::Body body, uint32_t held = 0);

// getattr(object, name) where Python has such an attribute: a bound method, a property, or an undefined value that
// carries the sandbox's refusal.
std::optional<Value> find_attribute(Interpreter&, const Value& object, std::string_view name);

// Methods of str, by name; null when there is none.
using Method = Value (*)(Interpreter&, const Value& self, const Arguments&);
Method find_string_method(std::string_view name);

// Shared with the filters.
Value split_text(const Value& text, const Value& separator, int64_t limit, bool from_right);
Value split_lines(const Value& text, bool keep_ends);
std::string replace_text(std::string_view text, std::string_view old, std::string_view fresh, int64_t count);
std::string center_text(std::string_view text, int64_t width, std::string_view fill);
std::string join_texts(std::string_view separator, const std::vector<Value>& items, bool convert);
bool test_case(std::string_view text, bool upper);  // str.isupper, str.islower

}  // namespace updraft::text::jinja
