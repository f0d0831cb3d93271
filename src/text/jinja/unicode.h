// Code points for Python's string semantics: lengths, positions, character classes and full case mapping.
// Text is UTF-8; a byte that is not part of valid UTF-8 counts as one character and is kept as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace updraft::text::jinja {

size_t character_bytes(std::string_view text, size_t position);  // bytes of the character at `position`
int64_t count_characters(std::string_view text);
char32_t code_point_at(std::string_view text, size_t position);  // U+FFFD for an invalid byte
void append_utf8(std::string& text, char32_t code_point);
std::vector<std::string_view> characters(std::string_view text);
bool is_valid_utf8(std::string_view text);
// The byte where character `index` begins; the size of the text when it is past the end.
size_t byte_offset(std::string_view text, int64_t index);

// str.isspace, isalpha, ... of one character.
bool is_space(char32_t);
bool is_alphabetic(char32_t);
bool is_decimal(char32_t);
bool is_digit(char32_t);
bool is_numeric(char32_t);
bool is_printable(char32_t);
bool is_upper(char32_t);
bool is_lower(char32_t);
bool is_title(char32_t);
bool is_cased(char32_t);
int decimal_value(char32_t);  // -1 for none

std::string to_upper(std::string_view);
std::string to_lower(std::string_view);
std::string to_casefold(std::string_view);
std::string to_title(std::string_view);        // str.title: every letter after a non-letter
std::string to_capitalized(std::string_view);  // str.capitalize
std::string swap_case(std::string_view);

enum class Side { kBoth, kLeft, kRight };
std::string_view strip_spaces(std::string_view, Side = Side::kBoth);
std::string_view strip_characters(std::string_view, std::string_view set, Side = Side::kBoth);

}  // namespace updraft::text::jinja
