// The integer products in plain loops: the definition that every other table is compared with.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "compute/cpu/integer_kernels.h"

namespace updraft::compute::cpu {
namespace {

constexpr int kRows = 32;

void quantize_group(const float* x, int64_t count, const IntegerActivations& out) {
  std::fill_n(out.integers, out.group, int8_t(0));
  *out.scales = 0;
  *out.sums = 0;
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) {
      *out.scales = std::numeric_limits<float>::quiet_NaN();
      return;
    }
    largest = std::max(largest, std::abs(x[i]));
  }
  if (largest < 0x1p-120f) return;
  const float inverse = 127 / largest;
  for (int64_t i = 0; i < count; ++i) {
    out.integers[i] = int8_t(std::nearbyint(x[i] * inverse));
    *out.sums += out.integers[i];
  }
  *out.scales = largest / 127;
}

void quantize_row(const float* x, int64_t columns, const IntegerActivations& out) {
  for (int64_t k = 0, g = 0; k < columns; k += out.group, ++g)
    quantize_group(x + k, std::min<int64_t>(out.group, columns - k), out.at(g, 0));
}

float widen(const uint8_t* bits, int i, DType type) {
  const uint16_t value = reinterpret_cast<const uint16_t*>(bits)[i];
  return type == DType::kF16 ? to_float(half_t{value}) : to_float(bfloat16_t{value});
}

void multiply(const IntegerProduct& p) {
  const IntegerLayout layout{p.format, p.groups * p.format.group};  // for place() alone
  if (p.first) std::fill_n(p.y, p.tokens * kRows, 0.0f);
  const bool has_offsets = p.format.offset != Offset::kNone;
  for (int64_t g = 0; g < p.groups; ++g) {
    const uint8_t* header = p.header(g);
    const int64_t columns = g + 1 == p.groups ? p.last_columns : p.format.group;
    for (int t = 0; t < p.tokens; ++t) {
      const IntegerActivations a = p.a.at(g, t);
      for (int row = 0; row < kRows; ++row) {
        int32_t sum = has_offsets ? 0 : -p.format.middle() * *a.sums;
        for (int64_t k = 0; k < columns; ++k) {
          const IntegerLayout::Place place = layout.place(k, row);
          const int byte = p.group(g)[p.strides.pair_at(place.pair) + place.byte];
          sum += int32_t(a.integers[k]) * (p.format.bits == 8 ? byte : place.high ? byte >> 4 : byte & 15);
        }
        float& y = p.y[t * kRows + row];
        const float scale = widen(header, row, p.format.scale_type);
        y = std::fma(float(sum), scale * *a.scales, y);
        if (!has_offsets) continue;
        float offset = widen(header + 64, row, p.format.scale_type);
        if (p.format.offset == Offset::kPoint) offset = 0 - scale * offset;
        y = std::fma(offset, *a.scales * float(*a.sums), y);
      }
    }
  }
}

}  // namespace

const IntegerKernels& integer_generic() {
  static constexpr IntegerKernels kTable = {.name = "generic",
                                            .stream_tokens = 16,
                                            .tile_tokens = 16,
                                            .configure = nullptr,
                                            .release = nullptr,
                                            .quantize_row = quantize_row,
                                            .multiply = multiply};
  return kTable;
}

}  // namespace updraft::compute::cpu
