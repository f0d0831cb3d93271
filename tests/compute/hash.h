// FNV-1a over the bits of floats, to compare results made on different machines.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace updraft::compute {

struct Hash {
  uint64_t value = 0xcbf29ce484222325u;

  void add(std::span<const float> floats) {
    for (float x : floats)
      for (uint32_t bits = std::bit_cast<uint32_t>(x), i = 0; i < 4; ++i, bits >>= 8)
        value = (value ^ (bits & 0xffu)) * 0x100000001b3u;
  }
};

}  // namespace updraft::compute
