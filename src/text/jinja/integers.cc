#include "text/jinja/integers.h"

#include <algorithm>
#include <boost/multiprecision/cpp_int.hpp>
#include <cfloat>
#include <cmath>

#include "text/jinja/limits.h"

namespace updraft::text::jinja {

using boost::multiprecision::cpp_int;

struct BigInteger {
  cpp_int value;
};

namespace {

cpp_int wide(const Value& value) { return value.is_big() ? value.big().value : cpp_int(value.integer()); }

cpp_int magnitude_of(const cpp_int& number) { return number < 0 ? cpp_int(-number) : number; }

cpp_int raised(cpp_int base, unsigned exponent) {
  cpp_int result = 1;
  while (exponent > 0) {
    if (exponent % 2 == 1) result *= base;
    exponent /= 2;
    if (exponent > 0) base *= base;
  }
  return result;
}

const cpp_int& first_too_large() {
  static const cpp_int kValue = raised(10, kMaxIntegerDigits);
  return kValue;
}

[[noreturn]] void refuse_size() { refuse("an integer grew beyond {} digits", kMaxIntegerDigits); }

Value made(cpp_int number) {
  if (number >= INT64_MIN && number <= INT64_MAX) return static_cast<int64_t>(number);
  if (number >= first_too_large() || number <= -first_too_large()) refuse_size();
  return Value(std::make_shared<const BigInteger>(BigInteger{std::move(number)}));
}

int64_t bits_of(const cpp_int& number) { return number == 0 ? 0 : 1 + static_cast<int64_t>(msb(magnitude_of(number))); }

// Rounded down, with the sign of the divisor for the rest.
std::pair<cpp_int, cpp_int> divided(const cpp_int& a, const cpp_int& b) {
  if (b == 0) refuse("integer division or modulo by zero");
  cpp_int quotient, rest;
  divide_qr(a, b, quotient, rest);
  if (rest != 0 && (rest < 0) != (b < 0)) {
    --quotient;
    rest += b;
  }
  return {quotient, rest};
}

cpp_int power(const cpp_int& base, const Value& exponent) {
  if (equal(exponent, Value(0))) return 1;
  const bool odd = bit_test(wide(exponent), 0);
  if (0 <= base && base <= 1) return base;
  if (base == -1) return odd ? -1 : 1;
  const int64_t most = bits_of(first_too_large()) / (bits_of(base) - 1);
  if (exponent.is_big() || exponent.integer() > most) refuse_size();
  return raised(base, static_cast<unsigned>(exponent.integer()));
}

// a / b of positive numbers, rounded once, half to even.
double quotient_of(cpp_int a, cpp_int b) {
  constexpr int64_t kExtraBits = 2;                                     // behind the result's last one
  constexpr int64_t kFinest = DBL_MANT_DIG - DBL_MIN_EXP + kExtraBits;  // a bit behind the smallest subnormal's
  const int64_t shift = std::min(bits_of(b) - bits_of(a) + DBL_MANT_DIG + kExtraBits, kFinest);
  (shift > 0 ? a : b) <<= static_cast<unsigned>(std::abs(shift));
  const auto [whole, rest] = divided(a, b);
  auto quotient = static_cast<uint64_t>(whole);
  const int64_t dropped = std::max<int64_t>(bits_of(whole) - DBL_MANT_DIG, shift == kFinest ? kExtraBits : 1);
  const uint64_t half = uint64_t{1} << (dropped - 1), below = quotient & (2 * half - 1);
  quotient >>= dropped;
  if (below > half || (below == half && (rest != 0 || quotient % 2 == 1))) ++quotient;
  return std::ldexp(static_cast<double>(quotient), static_cast<int>(dropped - shift));
}

double quotient_of_any(const Value& a, const Value& b) {
  const cpp_int x = wide(a), y = wide(b);
  if (x == 0) return 0;
  const double magnitude = quotient_of(magnitude_of(x), magnitude_of(y));
  return (x < 0) == (y < 0) ? magnitude : -magnitude;
}

}  // namespace

Value exact_arithmetic(BinaryOperator operation, const Value& a, const Value& b) {
  switch (operation) {
    case BinaryOperator::kAdd:
      return made(wide(a) + wide(b));
    case BinaryOperator::kSubtract:
      return made(wide(a) - wide(b));
    case BinaryOperator::kMultiply:
      return made(wide(a) * wide(b));
    case BinaryOperator::kFloorDivide:
      return made(divided(wide(a), wide(b)).first);
    case BinaryOperator::kModulo:
      return made(divided(wide(a), wide(b)).second);
    case BinaryOperator::kPower:
      return made(power(wide(a), b));
    case BinaryOperator::kDivide:
      break;
  }
  return true_quotient(a, b);
}

double true_quotient(const Value& a, const Value& b) {
  if (!truthy(b)) refuse("division by zero");
  const double quotient = quotient_of_any(a, b);
  if (std::isinf(quotient)) refuse("integer division result too large for a float");
  return quotient;
}

Value negated(const Value& value) { return made(-wide(value)); }

Value whole_part(double finite) { return made(cpp_int(std::trunc(finite))); }

bool is_negative(const Value& value) { return value.is_big() ? value.big().value < 0 : value.integer() < 0; }

int64_t bit_length(const Value& value) { return bits_of(wide(value)); }

std::strong_ordering compare_integers(const Value& a, const Value& b) {
  if (!a.is_big() && !b.is_big()) return a.integer() <=> b.integer();
  return wide(a).compare(wide(b)) <=> 0;
}

std::partial_ordering compare_with_real(const Value& integer, double real) {
  if (std::isnan(real)) return std::partial_ordering::unordered;
  if (std::isinf(real)) return real > 0 ? std::partial_ordering::less : std::partial_ordering::greater;
  const double whole = std::trunc(real);
  const int order = wide(integer).compare(cpp_int(whole));
  return order == 0 ? whole <=> real : order <=> 0;
}

double to_double(const Value& value) {
  const double real = quotient_of_any(value, Value(1));
  if (std::isinf(real)) refuse("int too large to convert to float");
  return real;
}

size_t hash_of_big(const Value& value) {
  const double real = quotient_of_any(value, Value(1));  // equal to a float: the same hash
  return std::isinf(real) ? std::hash<cpp_int>{}(value.big().value) : std::hash<double>{}(real);
}

std::string digits_of(const Value& value, int base) {
  cpp_int number = magnitude_of(wide(value));
  if (base == 10) return number.str();
  if (base == 16) return number.str(0, std::ios_base::hex);
  if (base == 8) return number.str(0, std::ios_base::oct);
  std::string digits;
  for (int64_t bit = std::max<int64_t>(bits_of(number), 1); bit-- > 0;)
    digits += bit_test(number, static_cast<unsigned>(bit)) ? '1' : '0';
  return digits;
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

Value read_integer(std::string_view digits, int base, bool negative) {
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  if (digits.size() > static_cast<size_t>(bits_of(first_too_large()))) refuse_size();
  cpp_int number = 0;
  while (!digits.empty()) {
    uint64_t part = 0, scale = 1;  // as many digits at once as 64 bits hold
    for (; !digits.empty() && scale <= UINT64_MAX / 36; digits.remove_prefix(1)) {
      part = part * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit_value(digits.front()));
      scale *= static_cast<uint64_t>(base);
    }
    number = number * scale + part;
  }
  return made(negative ? cpp_int(-number) : number);
}

}  // namespace updraft::text::jinja
