#include "text/jinja/number_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string>

#include "text/jinja/integers.h"
#include "text/jinja/limits.h"
#include "text/jinja/unicode.h"

namespace updraft::text::jinja {
namespace {

// Digits of any script as ASCII; other characters stay.
std::string ascii_digits(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t bytes = character_bytes(text, i);
    int digit = bytes > 1 ? decimal_value(code_point_at(text, i)) : -1;
    if (digit >= 0) {
      out += static_cast<char>('0' + digit);
    } else {
      out += text.substr(i, bytes);
    }
    i += bytes;
  }
  return out;
}

// Removes single underscores between digits; nothing when they stand elsewhere.
std::optional<std::string> without_underscores(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    bool between = i > 0 && i + 1 < text.size() && std::isalnum(static_cast<unsigned char>(text[i - 1])) &&
                   std::isalnum(static_cast<unsigned char>(text[i + 1]));
    if (!between) return std::nullopt;
  }
  return out;
}

bool is_real(std::string_view text) {
  size_t i = 0;
  auto digits = [&] {
    size_t begin = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - begin;
  };
  if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
  std::string lower;
  for (char c : text.substr(i)) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "inf" || lower == "infinity" || lower == "nan") return true;
  size_t whole = digits();
  size_t fraction = 0;
  if (i < text.size() && text[i] == '.') {
    ++i;
    fraction = digits();
  }
  if (whole + fraction == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

}  // namespace

std::optional<Value> parse_integer(std::string_view given, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  std::string text = ascii_digits(strip_spaces(given));
  bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.erase(0, 1);
  int64_t prefixed = 0;
  if (text.size() > 2 && text[0] == '0') {
    char letter = static_cast<char>(text[1] | 0x20);
    prefixed = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  }
  if (prefixed != 0 && (base == 0 || base == prefixed)) {
    base = prefixed;
    text.erase(0, 2);
    if (text[0] == '_') text.erase(0, 1);
  } else if (base == 0) {
    base = 10;
    bool zeros = text.find_first_not_of("0_") == std::string::npos;
    if (text.size() > 1 && text[0] == '0' && !zeros) return std::nullopt;
  }
  std::optional<std::string> digits = without_underscores(text);
  if (!digits || digits->empty()) return std::nullopt;
  if (std::any_of(digits->begin(), digits->end(), [&](char c) { return digit_value(c) >= base; })) return std::nullopt;
  // Python's limit, leading zeros counted; not where reading takes linear time.
  const bool power_of_two = (base & (base - 1)) == 0;
  if (!power_of_two && digits->size() > kMaxIntegerDigits) return std::nullopt;
  return read_integer(*digits, static_cast<int>(base), negative);
}

std::optional<double> parse_real(std::string_view given) {
  std::optional<std::string> text = without_underscores(ascii_digits(strip_spaces(given)));
  if (!text || !is_real(*text)) return std::nullopt;
  return std::strtod(text->c_str(), nullptr);
}

double round_real(double value, int64_t digits) {
  constexpr int64_t kMaxDigits = 323;
  if (!std::isfinite(value) || digits > kMaxDigits) return value;
  if (digits < -kMaxDigits) return std::copysign(0.0, value);
  if (digits >= 0) return std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
  double scale = std::pow(10.0, static_cast<double>(-digits));
  double scaled = value / scale;
  double rounded = std::nearbyint(scaled);
  return rounded * scale;
}

}  // namespace updraft::text::jinja
