// The inside of a quoted string in a template: Python's escapes.
#pragma once

#include <string>
#include <string_view>

namespace updraft::text::jinja {

struct StringLiteral {
  std::string text;
  std::string error;  // what is wrong with it; empty when it is right
};
StringLiteral read_string_literal(std::string_view inside);

}  // namespace updraft::text::jinja
