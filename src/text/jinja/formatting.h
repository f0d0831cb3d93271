// Python's two ways of formatting: "%s" % x, and "{}".format(x) with its format specifications.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

Value format_percent(const Value& format, const Value& arguments);
Value format_braces(Interpreter&, const Value& format, const Arguments&);
std::string format_value(const Value&, std::string_view specification);  // format(value, "08.3f")

}  // namespace updraft::text::jinja
