// The functions a template finds without being given them: range, dict, namespace, cycler, joiner, raise_exception,
// strftime_now.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

std::optional<Value> find_global(std::string_view name);

}  // namespace updraft::text::jinja
