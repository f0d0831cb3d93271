// The element types of GGUF and how their blocks are turned into F32. A block holds 32 or 256 consecutive values of one
// row as small integers with shared scales (half precision) and minimums. Dequantizing is exact: it gives the same bits
// as the Python package `gguf` (each product and each sum rounded once to F32, no fused multiply-add).
// Source: ggml's block layouts (ggml-common.h), the constants and quants of gguf-py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/quantized_rows.h"

namespace updraft::checkpoint {

enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

// How a type is stored, and its reader. `dequantize` is null for F32, F16 and BF16, whose blocks are single elements.
struct GgufTypeTraits {
  GgufType type;
  std::string_view name;   // "Q4_K"
  int64_t block_elements;  // values in a block
  int64_t block_bytes;
  void (*dequantize)(const uint8_t* blocks, int64_t block_count, float* out);
};

// Types whose blocks are 32 integers with an F16 scale, and perhaps an F16 minimum: u = the stored integer, counted so
// that QuantizedFormat's formulas give the type's values.
struct GgufIntegerTraits {
  GgufType type;
  QuantizedFormat format;
  void (*unpack)(const uint8_t* block, uint8_t* integers, uint16_t* scale, uint16_t* minimum);  // of one block
};

// Null for other types.
const GgufIntegerTraits* gguf_integer_traits(GgufType type);

// Null for a type that this program does not read.
const GgufTypeTraits* gguf_type_traits(uint32_t id);

// The name of any type id known to the format, for messages: "IQ4_XS", else "type 77".
std::string gguf_type_name(uint32_t id);

}  // namespace updraft::checkpoint
