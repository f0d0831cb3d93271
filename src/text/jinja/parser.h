// Parses a template. Throws Error naming template, line and column for what does not parse, for statements that reach
// outside the template (include, import, extends, ...), and for unknown filters and tests.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"

namespace updraft::text::jinja {

std::shared_ptr<const Program> parse(std::string_view source, const std::string& template_name);

}  // namespace updraft::text::jinja
