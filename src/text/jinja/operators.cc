#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/formatting.h"
#include "text/jinja/integers.h"
#include "text/jinja/limits.h"
#include "text/jinja/objects.h"
#include "text/jinja/unicode.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

const char* symbol(BinaryOperator operation) {
  switch (operation) {
    case BinaryOperator::kAdd:
      return "+";
    case BinaryOperator::kSubtract:
      return "-";
    case BinaryOperator::kMultiply:
      return "*";
    case BinaryOperator::kDivide:
      return "/";
    case BinaryOperator::kFloorDivide:
      return "//";
    case BinaryOperator::kModulo:
      return "%";
    case BinaryOperator::kPower:
      return "** or pow()";
  }
  return "?";
}

[[noreturn]] void refuse_operands(BinaryOperator operation, const Value& left, const Value& right) {
  refuse("unsupported operand type(s) for {}: '{}' and '{}'", symbol(operation), type_name(left), type_name(right));
}

int64_t floor_divide(int64_t a, int64_t b) {
  int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

int64_t modulo(int64_t a, int64_t b) {
  int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double modulo(double a, double b) {
  if (b == 0) refuse("float modulo");
  double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_divide(double a, double b) {
  if (b == 0) refuse("float floor division by zero");
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double power(double base, double exponent) {
  if (base == 0 && exponent < 0) refuse("0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(exponent) && std::floor(exponent) != exponent) {
    refuse("a negative number cannot be raised to a fractional power here");
  }
  double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) refuse("Numerical result out of range");
  return result;
}

// Where 64 bits are enough.
std::optional<Value> small_integers(BinaryOperator operation, int64_t a, int64_t b) {
  constexpr int64_t kExactInDouble = int64_t{1} << 53;
  int64_t result = 0;
  switch (operation) {
    case BinaryOperator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
      return result;
    case BinaryOperator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return std::nullopt;
      return result;
    case BinaryOperator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
      return result;
    case BinaryOperator::kDivide:
      if (b == 0 || std::max(a, b) > kExactInDouble || std::min(a, b) < -kExactInDouble) return std::nullopt;
      return static_cast<double>(a) / static_cast<double>(b);
    case BinaryOperator::kFloorDivide:
      if (b == 0 || b == -1) return std::nullopt;
      return floor_divide(a, b);
    case BinaryOperator::kModulo:
      if (b == 0 || b == -1) return std::nullopt;
      return modulo(a, b);
    case BinaryOperator::kPower:
      return std::nullopt;
  }
  return std::nullopt;
}

Value integers(BinaryOperator operation, const Value& a, const Value& b) {
  if (operation == BinaryOperator::kPower && is_negative(b)) return power(a.real(), b.real());
  if (!a.is_big() && !b.is_big()) {
    if (std::optional<Value> result = small_integers(operation, a.integer(), b.integer())) return *result;
  }
  return exact_arithmetic(operation, a, b);
}

Value reals(BinaryOperator operation, double a, double b) {
  switch (operation) {
    case BinaryOperator::kAdd:
      return a + b;
    case BinaryOperator::kSubtract:
      return a - b;
    case BinaryOperator::kMultiply:
      return a * b;
    case BinaryOperator::kDivide:
      if (b == 0) refuse("float division by zero");
      return a / b;
    case BinaryOperator::kFloorDivide:
      return floor_divide(a, b);
    case BinaryOperator::kModulo:
      return modulo(a, b);
    case BinaryOperator::kPower:
      return power(a, b);
  }
  return 0.0;
}

Value add(const Value& left, const Value& right) {
  if (left.is_string() && right.is_string()) {
    check_string_size(left.text().size() + right.text().size());
    if (left.is_markup() == right.is_markup()) return Value(left.text() + right.text(), left.is_markup());
    return Value((left.is_markup() ? left.text() : escape_html(left.text())) +
                     (right.is_markup() ? right.text() : escape_html(right.text())),
                 true);
  }
  if ((left.is_list() && right.is_list()) || (left.is_tuple() && right.is_tuple())) {
    std::vector<Value> items = left.items();
    items.insert(items.end(), right.items().begin(), right.items().end());
    return left.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }
  if (left.is_string() || left.is_list() || left.is_tuple()) {
    refuse("can only concatenate {0} (not \"{1}\") to {0}", type_name(left), type_name(right));
  }
  refuse_operands(BinaryOperator::kAdd, left, right);
}

Value repeat(const Value& value, int64_t times) {
  auto count = static_cast<uint64_t>(times > 0 ? times : 0);
  if (value.is_string()) {
    if (!value.text().empty() && count > kMaxStringBytes) check_string_size(count);
    check_string_size(count * value.text().size());
    std::string out;
    for (uint64_t i = 0; i < count && !value.text().empty(); ++i) out += value.text();
    return Value(std::move(out), value.is_markup());
  }
  if (!value.items().empty() && (count > kMaxWeight || count * value.weight() > kMaxWeight)) {
    refuse("a value holds more than {} items", kMaxWeight);
  }
  std::vector<Value> items;
  for (uint64_t i = 0; i < count && !value.items().empty(); ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

bool is_sequence(const Value& value) { return value.is_string() || value.is_list() || value.is_tuple(); }

int64_t clamp_bound(const Value& bound, int64_t length, int64_t otherwise, int64_t low, int64_t high) {
  if (bound.is_none()) return otherwise;
  if (bound.is_undefined()) refuse_undefined(bound);
  if (!bound.is_integral()) refuse("slice indices must be integers or None or have an __index__ method");
  if (bound.is_big()) return is_negative(bound) ? low : high;
  int64_t index = bound.integer();
  if (index < 0) index = index < -length ? low : index + length;
  return index < low ? low : index > high ? high : index;
}

}  // namespace

Value apply(BinaryOperator operation, const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral()) return integers(operation, left, right);
  if (left.is_number() && right.is_number()) return reals(operation, left.real(), right.real());
  if (operation == BinaryOperator::kModulo && left.is_string()) return format_percent(left, right);
  if (left.is_undefined()) refuse_undefined(left);
  if (right.is_undefined()) refuse_undefined(right);
  if (operation == BinaryOperator::kAdd) return add(left, right);
  if (operation == BinaryOperator::kMultiply) {
    if (is_sequence(left) && right.is_integral()) return repeat(left, to_index(right));
    if (is_sequence(right) && left.is_integral()) return repeat(right, to_index(left));
    if (is_sequence(left)) refuse("can't multiply sequence by non-int of type '{}'", type_name(right));
  }
  if (left.is_dict() && right.is_dict()) refuse_operands(operation, left, right);
  refuse_operands(operation, left, right);
}

Value apply(UnaryOperator operation, const Value& operand) {
  if (operation == UnaryOperator::kNot) return !truthy(operand);
  if (operand.is_undefined()) refuse_undefined(operand);
  bool minus = operation == UnaryOperator::kMinus;
  if (operand.is_float()) return minus ? -operand.real() : operand.real();
  if (!operand.is_integral()) refuse("bad operand type for unary {}: '{}'", minus ? "-" : "+", type_name(operand));
  if (operand.is_big() || operand.integer() == INT64_MIN) return minus ? negated(operand) : operand;
  return minus ? -operand.integer() : operand.integer();
}

bool compare(Comparison operation, const Value& left, const Value& right) {
  switch (operation) {
    case Comparison::kEqual:
      return equal(left, right);
    case Comparison::kNotEqual:
      return !equal(left, right);
    case Comparison::kLess:
      return less(left, right, "<");
    case Comparison::kGreater:
      return less(right, left, "<");
    case Comparison::kIn:
      return contains(right, left);
    case Comparison::kNotIn:
      return !contains(right, left);
    default:
      break;
  }
  // <= and >=: not the opposite of > and <, because of NaN.
  const Value& low = operation == Comparison::kLessEqual ? left : right;
  const Value& high = operation == Comparison::kLessEqual ? right : left;
  return less(low, high, "<=") || equal(low, high);
}

bool contains(const Value& container, const Value& item) {
  if (container.is_dict()) return container.dict().find(item) != nullptr;
  if (container.is_string()) {
    if (item.is_undefined()) refuse_undefined(item);
    if (!item.is_string()) refuse("'in <string>' requires string as left operand, not {}", type_name(item));
    return container.text().find(item.text()) != std::string::npos;
  }
  if (!is_iterable(container)) refuse("argument of type '{}' is not iterable", type_name(container));
  std::shared_ptr<Cursor> cursor = iterate(container);
  for (Value candidate; cursor->next(candidate);) {
    if (equal(candidate, item)) return true;
  }
  return false;
}

std::optional<Value> item_of(const Value& object, const Value& index) {
  if (object.is_undefined()) refuse_undefined(object);
  if (object.is_dict()) {
    if (index.is_list() || index.is_dict()) return std::nullopt;
    const Value* found = object.dict().find(index);
    return found ? std::optional<Value>(*found) : std::nullopt;
  }
  if (object.is_object()) return object.object()->item(index);
  if (!is_sequence(object) || !index.is_integral() || index.is_big()) return std::nullopt;
  int64_t length = *length_of(object);
  int64_t position = index.integer();
  if (position < 0) position += length;
  if (position < 0 || position >= length) return std::nullopt;
  if (!object.is_string()) return object.items()[static_cast<size_t>(position)];
  bool ascii = static_cast<size_t>(length) == object.text().size();
  size_t offset = ascii ? static_cast<size_t>(position) : byte_offset(object.text(), position);
  return Value(object.text().substr(offset, character_bytes(object.text(), offset)), object.is_markup());
}

SlicePositions slice_positions(int64_t length, const Value& start, const Value& stop, const Value& step) {
  int64_t stride = step.is_none() ? 1 : step.is_big() ? (is_negative(step) ? INT64_MIN : INT64_MAX) : to_index(step);
  if (stride == 0) refuse("slice step cannot be zero");
  if (stride < -length - 1) stride = -length - 1;
  if (stride > length + 1) stride = length + 1;
  bool backward = stride < 0;
  int64_t low = backward ? -1 : 0;
  int64_t high = backward ? length - 1 : length;
  int64_t first = clamp_bound(start, length, backward ? high : low, low, high);
  int64_t last = clamp_bound(stop, length, backward ? low : high, low, high);
  int64_t distance = backward ? first - last : last - first;
  int64_t magnitude = backward ? -stride : stride;
  return {first, stride, distance > 0 ? (distance + magnitude - 1) / magnitude : 0};
}

Value slice_of(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) refuse_undefined(object);
  if (std::shared_ptr<Range> range = object.object_as<Range>()) return range->slice(start, stop, step);
  if (object.is_dict()) refuse("unhashable type: 'slice'");
  if (!is_sequence(object)) refuse("'{}' object is not subscriptable", type_name(object));
  SlicePositions positions = slice_positions(*length_of(object), start, stop, step);
  if (object.is_string()) {
    std::string out;
    if (positions.step == 1) {
      size_t begin = byte_offset(object.text(), positions.start);
      std::string_view rest = std::string_view(object.text()).substr(begin);
      out = rest.substr(0, byte_offset(rest, positions.count));
    } else {
      std::vector<std::string_view> all = characters(object.text());
      for (int64_t i = 0; i < positions.count; ++i)
        out += all[static_cast<size_t>(positions.start + i * positions.step)];
    }
    return Value(std::move(out), object.is_markup());
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(positions.count));
  for (int64_t i = 0; i < positions.count; ++i) {
    items.push_back(object.items()[static_cast<size_t>(positions.start + i * positions.step)]);
  }
  return object.is_list() ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

}  // namespace updraft::text::jinja
