#include "text/byte_level.h"

#include "text/utf8.h"

namespace updraft::text {
namespace {

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int, 0x144> byte_of{};  // code point -> byte, -1 for none

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      const char32_t c = printable ? char32_t(byte) : next++;
      append_utf8(characters[size_t(byte)], c);
      byte_of[c] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet value;
  return value;
}

int hexadecimal(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

const std::array<std::string, 256>& byte_level_characters() { return alphabet().characters; }

std::optional<std::string> byte_level_bytes(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const char32_t c = next_code_point(token, i);
    const int byte = c < alphabet().byte_of.size() ? alphabet().byte_of[c] : -1;
    if (byte < 0) return std::nullopt;
    bytes += char(byte);
  }
  return bytes;
}

std::optional<uint8_t> byte_fallback_value(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = hexadecimal(token[3]), low = hexadecimal(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return uint8_t(high << 4 | low);
}

}  // namespace updraft::text
