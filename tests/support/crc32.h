// CRC-32 as zlib.crc32 computes it, for goldens that give checksums of large tensors. For tests only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace updraft::test {

// `crc`: the checksum of what came before.
inline uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] & 1) ? (t[i] >> 1) ^ 0xedb88320u : t[i] >> 1;
    }
    return t;
  }();
  crc = ~crc;
  for (const std::byte byte : bytes) crc = table[(crc ^ uint32_t(byte)) & 255] ^ (crc >> 8);
  return ~crc;
}

}  // namespace updraft::test
