// Python's int where 64 bits are not enough. A Value holds 64 bits as long as they are enough and a BigInteger beyond;
// these functions take ints of either size (a bool counts as one) and give the smallest that holds the result. A result
// of more than kMaxIntegerDigits digits is refused, before it is computed where it could be much larger.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace updraft::text::jinja {

Value exact_arithmetic(BinaryOperator, const Value& a, const Value& b);  // any but /; an exponent is not negative
double true_quotient(const Value& a, const Value& b);                    // the double next to a / b
Value negated(const Value&);
Value whole_part(double finite);

bool is_negative(const Value&);
int64_t bit_length(const Value&);
std::strong_ordering compare_integers(const Value& a, const Value& b);
std::partial_ordering compare_with_real(const Value& integer, double real);
double to_double(const Value&);  // the next one
size_t hash_of_big(const Value&);

std::string digits_of(const Value&, int base);                         // of its magnitude: 2, 8, 10 or 16
int digit_value(char);                                                 // of a base up to 36; 99: no digit
Value read_integer(std::string_view digits, int base, bool negative);  // digits of a base of 2 to 36

}  // namespace updraft::text::jinja
