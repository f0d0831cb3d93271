// The filters of Jinja, and tojson as transformers defines it.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

using Filter = Value (*)(Interpreter&, const Value& operand, const Arguments&);
Filter find_filter(std::string_view name);  // null when there is none
inline bool is_filter(std::string_view name) { return find_filter(name) != nullptr; }

// The filters are defined in three files by what they work on.
Filter find_text_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);
Filter find_value_filter(std::string_view name);

}  // namespace updraft::text::jinja
