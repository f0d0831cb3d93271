// convert(): a RowSource in another number type, through F32, one rounding to nearest even.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace updraft::checkpoint {
namespace {

// The loops below run over blocks of fixed length and choose with masks instead of branches, so that compilers turn
// them into vector code at -O2; tests compare every 16-bit pattern with base/half.h.
constexpr size_t kBlock = 64;

using Floats = std::array<float, kBlock>;
using Halves = std::array<uint16_t, kBlock>;

void widen_bfloat16(const Halves& in, Floats& out) {
  for (size_t i = 0; i < kBlock; ++i) out[i] = std::bit_cast<float>(uint32_t(in[i]) << 16);
}

void widen_half(const Halves& in, Floats& out) {
  for (size_t i = 0; i < kBlock; ++i) {
    const uint32_t magnitude = in[i] & 0x7fffu;
    const uint32_t normal = (magnitude << 13) + 0x38000000u;
    const uint32_t special = (magnitude << 13) + 0x70000000u;  // infinity and NaN: the exponent all ones
    const uint32_t subnormal = std::bit_cast<uint32_t>(float(int32_t(magnitude)) * 0x1p-24f);
    const uint32_t is_special = 0u - uint32_t(magnitude >= 0x7c00u), is_subnormal = 0u - uint32_t(magnitude < 0x0400u);
    const uint32_t bits = (is_special & special) | (is_subnormal & subnormal) | (~(is_special | is_subnormal) & normal);
    out[i] = std::bit_cast<float>(bits | uint32_t(in[i] & 0x8000u) << 16);
  }
}

void narrow_to_bfloat16(const Floats& in, Halves& out) {
  for (size_t i = 0; i < kBlock; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(in[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t is_nan = 0u - uint32_t((bits & 0x7fffffffu) > 0x7f800000u);
    out[i] = uint16_t((is_nan & ((bits >> 16) | 0x0040u)) | (~is_nan & rounded));
  }
}

// False where a finite value becomes infinite.
bool narrow_to_half(const Floats& in, Halves& out) {
  uint32_t overflow = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(in[i]);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    const uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    // Adding 0.5 makes the adder round at 2^-24; the minimum keeps the sum's meaning for larger values, which are not
    // used.
    const uint32_t small = magnitude < 0x38800000u ? magnitude : 0x38800000u;
    const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(small) + 0.5f) - 0x3f000000u;
    const uint32_t is_nan = 0u - uint32_t(magnitude > 0x7f800000u);
    const uint32_t is_infinite = (0u - uint32_t(magnitude >= 0x477ff000u)) & ~is_nan;
    const uint32_t is_subnormal = 0u - uint32_t(magnitude < 0x38800000u);
    const uint32_t is_normal = ~(is_nan | is_infinite | is_subnormal);
    const uint32_t value = (is_nan & nan) | (is_infinite & 0x7c00u) | (is_subnormal & subnormal) | (is_normal & normal);
    out[i] = uint16_t(value | ((bits >> 16) & 0x8000u));
    overflow |= is_infinite & (0u - uint32_t(magnitude < 0x7f800000u));
  }
  return overflow == 0;
}

// `count` elements, at most a block; what lies behind them in a block is never looked at.
void widen(const std::byte* in, DType type, size_t count, Floats& out) {
  if (type == DType::kF32) {
    std::memcpy(out.data(), in, count * sizeof(float));
    return;
  }
  Halves halves{};
  std::memcpy(halves.data(), in, count * sizeof(uint16_t));
  type == DType::kF16 ? widen_half(halves, out) : widen_bfloat16(halves, out);
}

// False where a finite value becomes infinite in F16.
bool narrow(const Floats& in, DType type, size_t count, std::byte* out) {
  if (type == DType::kF32) {
    std::memcpy(out, in.data(), count * sizeof(float));
    return true;
  }
  Halves halves;
  bool fits = true;
  type == DType::kF16 ? void(fits = narrow_to_half(in, halves)) : narrow_to_bfloat16(in, halves);
  std::memcpy(out, halves.data(), count * sizeof(uint16_t));
  return fits;
}

class ConvertedRows final : public RowSource {
 public:
  ConvertedRows(RowSourcePtr source, DType dtype)
      : RowSource(source->rows(), source->columns(), dtype, source->name()), source_(std::move(source)) {}

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    const int64_t rows_at_once = std::max<int64_t>(1, kBufferBytes / std::max<int64_t>(1, source_->row_bytes()));
    std::vector<std::byte> buffer(size_t(std::min(rows_at_once, end - begin) * source_->row_bytes()));
    auto* to = static_cast<std::byte*>(out);
    for (int64_t row = begin; row < end; row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, end - row);
      source_->read_rows(row, row + rows, buffer.data());
      convert_elements(buffer.data(), row, rows, to);
      to += rows * row_bytes();
    }
  }

 private:
  static constexpr int64_t kBufferBytes = 256 << 10;  // stays in the second-level cache

  void convert_elements(const std::byte* in, int64_t first_row, int64_t rows, std::byte* out) const {
    const DType from = source_->dtype(), to = dtype();
    const int64_t count = rows * columns();
    Floats floats{};
    for (int64_t i = 0; i < count; i += int64_t(kBlock)) {
      const size_t n = size_t(std::min<int64_t>(int64_t(kBlock), count - i));
      widen(in + i * bytes_per_element(from), from, n, floats);
      if (!narrow(floats, to, n, out + i * bytes_per_element(to)))
        refuse_overflow(floats, n, first_row * columns() + i);
    }
  }

  // The first of `count` floats that does not fit; floats[0] is element `first` of the matrix.
  [[noreturn]] void refuse_overflow(const Floats& floats, size_t count, int64_t first) const {
    const float* value = std::find_if(floats.data(), floats.data() + count,
                                      [](float x) { return std::isfinite(x) && std::abs(x) >= 65520.0f; });
    fail("Row {} of {} holds {:g}: F16 ends at 65504, so it would become infinite; use --dtype bf16 or f32.",
         (first + (value - floats.data())) / columns(), name(), *value);
  }

  RowSourcePtr source_;
};

}  // namespace

RowSourcePtr convert(RowSourcePtr source, DType dtype) {
  if (source->dtype() == dtype) return source;
  return std::make_shared<ConvertedRows>(std::move(source), dtype);
}

}  // namespace updraft::checkpoint
