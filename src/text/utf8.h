// UTF-8: stepping over valid text, finding out whether text is valid, and replacing what is not by U+FFFD exactly as
// Rust's String::from_utf8_lossy does (one per maximal ill-formed part), at once or byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace updraft::text {

// The code point at `i`, which moves behind it. The text must be valid UTF-8.
inline char32_t next_code_point(std::string_view text, size_t& i) {
  const auto byte = [&](size_t k) { return char32_t(uint8_t(text[i + k])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return i += 1, lead;
  if (lead < 0xe0) {
    const char32_t c = (lead & 0x1f) << 6 | (byte(1) & 0x3f);
    return i += 2, c;
  }
  if (lead < 0xf0) {
    const char32_t c = (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    return i += 3, c;
  }
  const char32_t c = (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
  return i += 4, c;
}

// Bytes of the character that a lead byte of valid UTF-8 begins.
inline size_t utf8_length(char lead) {
  const uint8_t byte = uint8_t(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// Where the character that ends at `end` (> 0) begins, in valid UTF-8.
inline size_t previous_character(std::string_view text, size_t end) {
  do {
    --end;
  } while ((uint8_t(text[end]) & 0xc0) == 0x80);
  return end;
}

void append_utf8(std::string& out, char32_t c);  // c is a scalar value
bool is_valid_utf8(std::string_view);
std::string replace_invalid_utf8(std::string_view);

// Bytes in, valid UTF-8 out; keeps at most three bytes of an unfinished character.
class Utf8Decoder {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);  // an unfinished character becomes U+FFFD

 private:
  void push(uint8_t byte, std::string& out);

  char kept_[4] = {};
  int kept_bytes_ = 0;
  int wanted_bytes_ = 0;
  uint8_t low_ = 0, high_ = 0;  // what the next byte may be
};

}  // namespace updraft::text
