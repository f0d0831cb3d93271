// The tests of Jinja: what follows `is`.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

using Test = bool (*)(Interpreter&, const Value& operand, const Arguments&);
Test find_test(std::string_view name);  // null when there is none
inline bool is_test(std::string_view name) { return find_test(name) != nullptr; }

}  // namespace updraft::text::jinja
