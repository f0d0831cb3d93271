#include "text/jinja/tests.h"

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

template <bool (*kHolds)(const Value&)>
bool plain(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "test");
  return kHolds(operand);
}

template <Comparison kOperation>
bool compared(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "test", {""}, 1);
  return compare(kOperation, operand, bound[0]);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is_bool(); }
bool is_true(const Value& value) { return value.is_bool() && value.boolean(); }
bool is_false(const Value& value) { return value.is_bool() && !value.boolean(); }
bool is_integer(const Value& value) { return value.is_integral() && !value.is_bool(); }
bool is_float(const Value& value) { return value.is_float(); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is_dict(); }
bool is_escaped(const Value& value) { return value.is_markup(); }
bool is_lower(const Value& value) { return test_case(to_text(value), false); }
bool is_upper(const Value& value) { return test_case(to_text(value), true); }

bool is_sequence(const Value& value) {
  if (value.is_object()) return value.object()->indexable();
  return length_of(value).has_value();
}

bool is_callable(const Value& value) {
  return value.is_undefined() || (value.is_object() && value.object()->callable());
}

bool is_even(const Value& value) { return equal(apply(BinaryOperator::kModulo, value, Value(2)), Value(0)); }
bool is_odd(const Value& value) { return equal(apply(BinaryOperator::kModulo, value, Value(2)), Value(1)); }

bool is_divisible(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "divisibleby", {"num"}, 1);
  return equal(apply(BinaryOperator::kModulo, operand, bound[0]), Value(0));
}

bool is_same(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "sameas", {"other"}, 1);
  return operand.same_as(bound[0]);
}

bool is_in(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "in", {"seq"}, 1);
  return contains(bound[0], operand);
}

bool names_filter(const Value& value) {
  if (value.is_list() || value.is_dict()) refuse("unhashable type: '{}'", type_name(value));
  return value.is_string() && is_filter(value.text());
}

bool names_test(const Value& value) {
  if (value.is_list() || value.is_dict()) refuse("unhashable type: '{}'", type_name(value));
  return value.is_string() && is_test(value.text());
}

struct NamedTest {
  std::string_view name;
  Test test;
};

constexpr NamedTest kTests[] = {
    {"!=", compared<Comparison::kNotEqual>},
    {"<", compared<Comparison::kLess>},
    {"<=", compared<Comparison::kLessEqual>},
    {"==", compared<Comparison::kEqual>},
    {">", compared<Comparison::kGreater>},
    {">=", compared<Comparison::kGreaterEqual>},
    {"boolean", plain<is_boolean>},
    {"callable", plain<is_callable>},
    {"defined", plain<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", compared<Comparison::kEqual>},
    {"equalto", compared<Comparison::kEqual>},
    {"escaped", plain<is_escaped>},
    {"even", plain<is_even>},
    {"false", plain<is_false>},
    {"filter", plain<names_filter>},
    {"float", plain<is_float>},
    {"ge", compared<Comparison::kGreaterEqual>},
    {"greaterthan", compared<Comparison::kGreater>},
    {"gt", compared<Comparison::kGreater>},
    {"in", is_in},
    {"integer", plain<is_integer>},
    {"iterable", plain<is_iterable>},
    {"le", compared<Comparison::kLessEqual>},
    {"lessthan", compared<Comparison::kLess>},
    {"lower", plain<is_lower>},
    {"lt", compared<Comparison::kLess>},
    {"mapping", plain<is_mapping>},
    {"ne", compared<Comparison::kNotEqual>},
    {"none", plain<is_none>},
    {"number", plain<is_number>},
    {"odd", plain<is_odd>},
    {"sameas", is_same},
    {"sequence", plain<is_sequence>},
    {"string", plain<is_string>},
    {"test", plain<names_test>},
    {"true", plain<is_true>},
    {"undefined", plain<is_undefined>},
    {"upper", plain<is_upper>},
};

}  // namespace

Test find_test(std::string_view name) {
  for (const NamedTest& entry : kTests) {
    if (entry.name == name) return entry.test;
  }
  return nullptr;
}

}  // namespace updraft::text::jinja
