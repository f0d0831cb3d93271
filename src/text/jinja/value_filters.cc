// Filters on numbers and on values of any type.
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/integers.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/limits.h"
#include "text/jinja/methods.h"
#include "text/jinja/number_text.h"
#include "text/jinja/operators.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

Value absolute(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "abs");
  if (operand.is_undefined()) refuse_undefined(operand);
  if (operand.is_float()) return std::fabs(operand.real());
  if (!operand.is_integral()) refuse("bad operand type for abs(): '{}'", type_name(operand));
  return apply(is_negative(operand) ? UnaryOperator::kMinus : UnaryOperator::kPlus, operand);
}

Value attribute(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "attr", {"name"}, 1);
  if (std::optional<Value> found = find_attribute(interpreter, operand, bound.text(0))) return *found;
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", qualified_type_name(operand), bound.text(0)));
}

Value default_value(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "default", {"default_value", "boolean"});
  bool missing = operand.is_undefined() || (bound.flag(1, false) && !truthy(operand));
  return missing ? bound.value(0, "") : operand;
}

Value truncated(double value) {
  if (std::isinf(value)) refuse("cannot convert float infinity to integer");
  return whole_part(value);
}

Value to_integer(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "int", {"default", "base"});
  Value otherwise = bound.value(0, 0);
  if (operand.is_undefined()) refuse_undefined(operand);
  if (operand.is_integral()) return apply(UnaryOperator::kPlus, operand);
  if (operand.is_float()) return std::isnan(operand.real()) ? otherwise : truncated(operand.real());
  if (!operand.is_string()) return otherwise;
  if (std::optional<Value> value = parse_integer(operand.text(), bound.integer(1, 10))) return *value;
  std::optional<double> real = parse_real(operand.text());  // "42.23" gives 42
  if (!real || !std::isfinite(*real)) return otherwise;
  return whole_part(*real);
}

Value to_real(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "float", {"default"});
  if (operand.is_undefined()) refuse_undefined(operand);
  if (operand.is_number()) return operand.real();
  std::optional<double> value = operand.is_string() ? parse_real(operand.text()) : std::nullopt;
  return value ? Value(*value) : bound.value(0, 0.0);
}

// Half to even, as Python; a negative precision of an int rounds to tens, hundreds, ...
Value round_integer(const Value& value, int64_t precision) {
  if (precision >= 0) return value;
  if (precision < -kMaxIntegerDigits) return 0;
  const Value scale = apply(BinaryOperator::kPower, 10, -precision);
  const Value rest = apply(BinaryOperator::kModulo, value, scale);
  const Value down = apply(BinaryOperator::kSubtract, value, rest);
  const Value up = apply(BinaryOperator::kSubtract, scale, rest);
  const bool odd = truthy(apply(BinaryOperator::kModulo, apply(BinaryOperator::kFloorDivide, down, scale), 2));
  return less(up, rest) || (equal(up, rest) && odd) ? apply(BinaryOperator::kAdd, down, scale) : down;
}

Value round_number(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "round", {"precision", "method"});
  std::string method = bound.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") refuse("method must be common, ceil or floor");
  if (operand.is_undefined()) refuse_undefined(operand);
  if (!operand.is_number()) refuse("type {} doesn't define __round__ method", type_name(operand));
  if (method == "common") {
    int64_t precision = bound.integer(0);
    return operand.is_float() ? Value(round_real(operand.real(), precision))
                              : round_integer(apply(UnaryOperator::kPlus, operand), precision);
  }
  Value scale = apply(BinaryOperator::kPower, Value(10), bound.value(0, 0));
  Value scaled = apply(BinaryOperator::kMultiply, operand, scale);
  if (scaled.is_float()) {
    if (!std::isfinite(scaled.real())) refuse("cannot convert float infinity or NaN to integer");
    scaled = whole_part(method == "ceil" ? std::ceil(scaled.real()) : std::floor(scaled.real()));
  }
  return apply(BinaryOperator::kDivide, scaled, scale);
}

// json.dumps as transformers calls it: nothing escaped for HTML.
Value to_json_text(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  if (bound.has(1) && !bound[1].is_none()) {
    if (bound[1].is_string()) {
      style.indent = bound[1].text();
    } else {
      int64_t width = std::max<int64_t>(bound.integer(1), 0);
      check_string_size(static_cast<uint64_t>(width));
      style.indent.emplace(static_cast<size_t>(width), ' ');
    }
    style.item_separator.resize(1);  // no space before a new line
  }
  if (bound.has(2) && !bound[2].is_none()) {
    std::vector<Value> separators = to_vector(bound[2]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      refuse("separators must be two strings");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  return Value(to_json(operand, style));
}

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

constexpr NamedFilter kFilters[] = {
    {"abs", absolute},  {"attr", attribute}, {"d", default_value},    {"default", default_value},
    {"float", to_real}, {"int", to_integer}, {"round", round_number}, {"tojson", to_json_text},
};

}  // namespace

Filter find_value_filter(std::string_view name) {
  for (const NamedFilter& entry : kFilters) {
    if (entry.name == name) return entry.filter;
  }
  return nullptr;
}

}  // namespace updraft::text::jinja
