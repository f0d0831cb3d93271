// Numbers from text as Python's int() and float() read them, and Python's round().
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

// Spaces around, a sign, digits of any script with single underscores between them. Nothing for what Python refuses;
// an integer beyond the limit throws TemplateError.
std::optional<Value> parse_integer(std::string_view text, int64_t base);
std::optional<double> parse_real(std::string_view text);
double round_real(double value, int64_t digits);  // half to even, on the exact decimal value

}  // namespace updraft::text::jinja
