// JSON to template values, in the order of the document.
#pragma once

#include <nlohmann/json.hpp>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

Value from_json(const nlohmann::ordered_json&);  // throws TemplateError for what is nested too deep or too large

}  // namespace updraft::text::jinja
