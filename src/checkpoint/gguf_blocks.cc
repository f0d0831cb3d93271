#include "checkpoint/gguf_blocks.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/half.h"

namespace updraft::checkpoint {
namespace {

uint16_t half_bits_at(const uint8_t* bytes) { return uint16_t(bytes[0] | bytes[1] << 8); }
float half_at(const uint8_t* bytes) { return to_float(half_t{half_bits_at(bytes)}); }

uint32_t word_at(const uint8_t* bytes) {
  return uint32_t(bytes[0]) | uint32_t(bytes[1]) << 8 | uint32_t(bytes[2]) << 16 | uint32_t(bytes[3]) << 24;
}

constexpr int kSmall = 32;   // values in a block of Q4_0 ... Q8_0
constexpr int kLarge = 256;  // values in a block of the K types

// [d f16][16 bytes: value j low nibble, value j + 16 high nibble]
void q4_0(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 18, out += kSmall) {
    const float d = half_at(block);
    const uint8_t* nibbles = block + 2;
    for (int j = 0; j < 16; ++j) out[j] = d * float(int(nibbles[j] & 15) - 8);
    for (int j = 0; j < 16; ++j) out[j + 16] = d * float(int(nibbles[j] >> 4) - 8);
  }
}

// [d f16][m f16][16 bytes of nibbles]
void q4_1(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 20, out += kSmall) {
    const float d = half_at(block), m = half_at(block + 2);
    const uint8_t* nibbles = block + 4;
    for (int j = 0; j < 16; ++j) out[j] = d * float(int(nibbles[j] & 15)) + m;
    for (int j = 0; j < 16; ++j) out[j + 16] = d * float(int(nibbles[j] >> 4)) + m;
  }
}

// The fifth bit of value j is bit j of `high`.
int five_bits(const uint8_t* nibbles, uint32_t high, int j) {
  const int low = j < 16 ? nibbles[j] & 15 : nibbles[j - 16] >> 4;
  return low | int(high >> j & 1u) << 4;
}

// [d f16][high bits u32][16 bytes of nibbles]
void q5_0(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 22, out += kSmall) {
    const float d = half_at(block);
    const uint32_t high = word_at(block + 2);
    for (int j = 0; j < kSmall; ++j) out[j] = d * float(five_bits(block + 6, high, j) - 16);
  }
}

// [d f16][m f16][high bits u32][16 bytes of nibbles]
void q5_1(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 24, out += kSmall) {
    const float d = half_at(block), m = half_at(block + 2);
    const uint32_t high = word_at(block + 4);
    for (int j = 0; j < kSmall; ++j) out[j] = d * float(five_bits(block + 8, high, j)) + m;
  }
}

// [d f16][32 signed bytes]
void q8_0(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 34, out += kSmall) {
    const float d = half_at(block);
    for (int j = 0; j < kSmall; ++j) out[j] = d * float(int(int8_t(block[2 + j])));
  }
}

// The eight 6-bit scales and minimums of a Q4_K or Q5_K block, packed in 12 bytes: the first four of each lie in the
// low six bits of bytes 0-3 and 4-7, the others have four bits in bytes 8-11 and two in the top of bytes 0-3 and 4-7.
struct ScaleAndMinimum {
  int scale, minimum;
};
ScaleAndMinimum six_bits(const uint8_t* s, int sub_block) {
  if (sub_block < 4) return {s[sub_block] & 63, s[sub_block + 4] & 63};
  return {(s[sub_block + 4] & 15) | (s[sub_block - 4] >> 6) << 4, (s[sub_block + 4] >> 4) | (s[sub_block] >> 6) << 4};
}

// [d f16][dmin f16][12 bytes of scales][128 bytes: of each 32, low nibbles sub-block 2c, high nibbles 2c + 1]
void q4_k(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 144, out += kLarge) {
    const float d = half_at(block), d_minimum = half_at(block + 2);
    for (int sub = 0; sub < 8; ++sub) {
      const auto [scale, minimum] = six_bits(block + 4, sub);
      const float step = d * float(scale), base = d_minimum * float(minimum);
      const uint8_t* nibbles = block + 16 + sub / 2 * 32;
      const int shift = sub % 2 * 4;
      for (int j = 0; j < 32; ++j) out[sub * 32 + j] = step * float(nibbles[j] >> shift & 15) - base;
    }
  }
}

// [d f16][dmin f16][12 bytes of scales][32 bytes: bit `sub` of byte j is the fifth bit][128 bytes of nibbles]
void q5_k(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 176, out += kLarge) {
    const float d = half_at(block), d_minimum = half_at(block + 2);
    const uint8_t* high = block + 16;
    for (int sub = 0; sub < 8; ++sub) {
      const auto [scale, minimum] = six_bits(block + 4, sub);
      const float step = d * float(scale), base = d_minimum * float(minimum);
      const uint8_t* nibbles = block + 48 + sub / 2 * 32;
      const int shift = sub % 2 * 4;
      for (int j = 0; j < 32; ++j) {
        const int value = (nibbles[j] >> shift & 15) | (high[j] >> sub & 1) << 4;
        out[sub * 32 + j] = step * float(value) - base;
      }
    }
  }
}

// [128 bytes of nibbles][64 bytes: two high bits each][16 signed scales][d f16]. Each half of 128 values: quarter q
// (32 values) takes the low (q < 2) or high nibbles of bytes 32 * (q % 2) + l and bits 2q, 2q + 1 of high byte l.
void q6_k(const uint8_t* block, int64_t count, float* out) {
  for (; count-- > 0; block += 210, out += kLarge) {
    const float d = half_at(block + 208);
    for (int half = 0; half < 2; ++half) {
      const uint8_t* low = block + half * 64;
      const uint8_t* high = block + 128 + half * 32;
      const uint8_t* scales = block + 192 + half * 8;
      for (int group = 0; group < 8; ++group) {  // of 16 values with one scale
        const int quarter = group / 2, first = group % 2 * 16;
        const float step = d * float(int(int8_t(scales[group])));
        const uint8_t* nibbles = low + quarter % 2 * 32;
        const int shift = quarter / 2 * 4;
        for (int l = first; l < first + 16; ++l) {
          const int value = (nibbles[l] >> shift & 15) | (high[l] >> 2 * quarter & 3) << 4;
          out[half * 128 + quarter * 32 + l] = step * float(value - 32);
        }
      }
    }
  }
}

void unpack_q4(const uint8_t* nibbles, uint8_t* integers) {
  for (int j = 0; j < 16; ++j) integers[j] = nibbles[j] & 15, integers[j + 16] = nibbles[j] >> 4;
}

void unpack_q4_0(const uint8_t* block, uint8_t* integers, uint16_t* scale, uint16_t*) {
  *scale = half_bits_at(block);
  unpack_q4(block + 2, integers);
}

void unpack_q4_1(const uint8_t* block, uint8_t* integers, uint16_t* scale, uint16_t* minimum) {
  *scale = half_bits_at(block);
  *minimum = half_bits_at(block + 2);
  unpack_q4(block + 4, integers);
}

// d (q - 16) is d (u - 128).
void unpack_q5_0(const uint8_t* block, uint8_t* integers, uint16_t* scale, uint16_t*) {
  *scale = half_bits_at(block);
  const uint32_t high = word_at(block + 2);
  for (int j = 0; j < kSmall; ++j) integers[j] = uint8_t(five_bits(block + 6, high, j) + 112);
}

void unpack_q5_1(const uint8_t* block, uint8_t* integers, uint16_t* scale, uint16_t* minimum) {
  *scale = half_bits_at(block);
  *minimum = half_bits_at(block + 2);
  const uint32_t high = word_at(block + 4);
  for (int j = 0; j < kSmall; ++j) integers[j] = uint8_t(five_bits(block + 8, high, j));
}

void unpack_q8_0(const uint8_t* block, uint8_t* integers, uint16_t* scale, uint16_t*) {
  *scale = half_bits_at(block);
  for (int j = 0; j < kSmall; ++j) integers[j] = block[2 + j] ^ 0x80;
}

constexpr std::array<GgufIntegerTraits, 5> kIntegerTraits = {{
    {GgufType::kQ4_0, {4, kSmall, Offset::kNone, DType::kF16}, unpack_q4_0},
    {GgufType::kQ4_1, {4, kSmall, Offset::kMinimum, DType::kF16}, unpack_q4_1},
    {GgufType::kQ5_0, {8, kSmall, Offset::kNone, DType::kF16}, unpack_q5_0},
    {GgufType::kQ5_1, {8, kSmall, Offset::kMinimum, DType::kF16}, unpack_q5_1},
    {GgufType::kQ8_0, {8, kSmall, Offset::kNone, DType::kF16}, unpack_q8_0},
}};

constexpr std::array<GgufTypeTraits, 11> kTraits = {{
    {GgufType::kF32, "F32", 1, 4, nullptr},
    {GgufType::kF16, "F16", 1, 2, nullptr},
    {GgufType::kBF16, "BF16", 1, 2, nullptr},
    {GgufType::kQ4_0, "Q4_0", kSmall, 18, q4_0},
    {GgufType::kQ4_1, "Q4_1", kSmall, 20, q4_1},
    {GgufType::kQ5_0, "Q5_0", kSmall, 22, q5_0},
    {GgufType::kQ5_1, "Q5_1", kSmall, 24, q5_1},
    {GgufType::kQ8_0, "Q8_0", kSmall, 34, q8_0},
    {GgufType::kQ4_K, "Q4_K", kLarge, 144, q4_k},
    {GgufType::kQ5_K, "Q5_K", kLarge, 176, q5_k},
    {GgufType::kQ6_K, "Q6_K", kLarge, 210, q6_k},
}};

// Types of the format that this program does not read, so that a refusal can name them.
constexpr std::array<std::pair<uint32_t, std::string_view>, 25> kOtherTypes = {{
    {9, "Q8_1"},
    {10, "Q2_K"},
    {11, "Q3_K"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {29, "IQ1_M"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {39, "MXFP4"},
    {40, "NVFP4"},
    {41, "Q1_0"},
    {4, "Q4_2 (removed from the format)"},
    {5, "Q4_3 (removed from the format)"},
}};

}  // namespace

const GgufIntegerTraits* gguf_integer_traits(GgufType type) {
  for (const GgufIntegerTraits& traits : kIntegerTraits)
    if (traits.type == type) return &traits;
  return nullptr;
}

const GgufTypeTraits* gguf_type_traits(uint32_t id) {
  for (const GgufTypeTraits& traits : kTraits)
    if (uint32_t(traits.type) == id) return &traits;
  return nullptr;
}

std::string gguf_type_name(uint32_t id) {
  if (const GgufTypeTraits* traits = gguf_type_traits(id)) return std::string(traits->name);
  for (const auto& [other, name] : kOtherTypes)
    if (other == id) return std::string(name);
  return fmt::format("type {}", id);
}

}  // namespace updraft::checkpoint
