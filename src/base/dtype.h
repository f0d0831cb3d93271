// The number types that a tensor can be stored in, by the names users know.
#pragma once

#include <cstdint>
#include <string_view>

namespace updraft {

enum class DType : uint8_t { kF32, kF16, kBF16 };

constexpr int64_t bytes_per_element(DType type) { return type == DType::kF32 ? 4 : 2; }

// "f32", "f16", "bf16"
constexpr std::string_view name(DType type) {
  switch (type) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
  }
  return "?";
}

}  // namespace updraft
