#include "text/utf8.h"

#include <cstring>

namespace updraft::text {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

// What may follow a lead byte: how many bytes the character has, and the range of its second byte.
struct LeadByte {
  int bytes = 0;  // 0: not a lead byte
  uint8_t low = 0x80, high = 0xbf;
};

LeadByte lead_byte(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2) return {};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};  // no surrogates
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};  // up to U+10FFFF
  return {};
}

}  // namespace

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += char(c);
  } else if (c < 0x800) {
    out += {char(0xc0 | c >> 6), char(0x80 | (c & 0x3f))};
  } else if (c < 0x10000) {
    out += {char(0xe0 | c >> 12), char(0x80 | (c >> 6 & 0x3f)), char(0x80 | (c & 0x3f))};
  } else {
    out += {char(0xf0 | c >> 18), char(0x80 | (c >> 12 & 0x3f)), char(0x80 | (c >> 6 & 0x3f)), char(0x80 | (c & 0x3f))};
  }
}

bool is_valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint64_t eight;  // ASCII in steps of eight bytes: most text is
    if (i + 8 <= text.size() && (std::memcpy(&eight, &text[i], 8), (eight & 0x8080808080808080u) == 0)) {
      i += 8;
      continue;
    }
    const LeadByte lead = lead_byte(uint8_t(text[i]));
    if (lead.bytes == 0 || i + size_t(lead.bytes) > text.size()) return false;
    for (int k = 1; k < lead.bytes; ++k) {
      const uint8_t byte = uint8_t(text[i + size_t(k)]);
      if (byte < (k == 1 ? lead.low : 0x80) || byte > (k == 1 ? lead.high : 0xbf)) return false;
    }
    i += size_t(lead.bytes);
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Utf8Decoder decoder;
  decoder.push(text, out);
  decoder.finish(out);
  return out;
}

void Utf8Decoder::push(std::string_view bytes, std::string& out) {
  for (char byte : bytes) push(uint8_t(byte), out);
}

void Utf8Decoder::push(uint8_t byte, std::string& out) {
  if (kept_bytes_ > 0) {
    if (byte >= low_ && byte <= high_) {
      kept_[kept_bytes_++] = char(byte);
      low_ = 0x80;
      high_ = 0xbf;
      if (kept_bytes_ == wanted_bytes_) {
        out.append(kept_, size_t(kept_bytes_));
        kept_bytes_ = 0;
      }
      return;
    }
    finish(out);
  }
  const LeadByte lead = lead_byte(byte);
  if (lead.bytes == 1) {
    out += char(byte);
  } else if (lead.bytes == 0) {
    out += kReplacement;
  } else {
    kept_[0] = char(byte);
    kept_bytes_ = 1;
    wanted_bytes_ = lead.bytes;
    low_ = lead.low;
    high_ = lead.high;
  }
}

void Utf8Decoder::finish(std::string& out) {
  if (kept_bytes_ > 0) out += kReplacement;
  kept_bytes_ = 0;
}

}  // namespace updraft::text
