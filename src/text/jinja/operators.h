// Python's operators on values.
#pragma once

#include <optional>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace updraft::text::jinja {

Value apply(BinaryOperator, const Value& left, const Value& right);
Value apply(UnaryOperator, const Value& operand);
bool compare(Comparison, const Value& left, const Value& right);
bool contains(const Value& container, const Value& item);

// obj[index] as Python does it; nothing where Python raises TypeError or LookupError.
std::optional<Value> item_of(const Value& object, const Value& index);
// obj[start:stop:step]; a bound is none or an int.
Value slice_of(const Value& object, const Value& start, const Value& stop, const Value& step);

// The positions a slice selects in a sequence of `length`.
struct SlicePositions {
  int64_t start, step, count;
};
SlicePositions slice_positions(int64_t length, const Value& start, const Value& stop, const Value& step);

}  // namespace updraft::text::jinja
