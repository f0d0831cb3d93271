#include "base/quantized_rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "base/half.h"

namespace updraft {
namespace {

float widen(uint16_t bits, DType type) {
  return type == DType::kF16 ? to_float(half_t{bits}) : to_float(bfloat16_t{bits});
}

uint16_t narrow(float value, DType type) { return type == DType::kF16 ? to_half(value).bits : to_bfloat16(value).bits; }

// Rows of a 16- or 32-bit type as F32.
void widen_rows(const void* in, DType type, int64_t count, float* out) {
  switch (type) {
    case DType::kF32:
      std::copy_n(static_cast<const float*>(in), count, out);
      return;
    case DType::kF16:
      std::transform(static_cast<const half_t*>(in), static_cast<const half_t*>(in) + count, out,
                     [](half_t x) { return to_float(x); });
      return;
    case DType::kBF16:
      std::transform(static_cast<const bfloat16_t*>(in), static_cast<const bfloat16_t*>(in) + count, out,
                     [](bfloat16_t x) { return to_float(x); });
      return;
  }
}

struct GroupScale {
  float scale = 0, offset = 0;  // as stored, widened again
};

GroupScale choose_scale(const float* w, int64_t count, const QuantizedFormat& format) {
  float low = 0, high = 0, not_finite = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, w[i]);
    high = std::max(high, w[i]);
    not_finite += w[i] * 0;
  }
  if (std::isnan(not_finite)) return {not_finite, 0};
  const auto stored = [&](float x) { return widen(narrow(x, format.scale_type), format.scale_type); };
  GroupScale chosen;
  if (format.offset == Offset::kNone) {
    chosen.scale = stored(std::max(high, -low) / (format.bits == 8 ? 127.0f : 7.5f));
    return chosen;
  }
  chosen.scale = stored((high - low) / float(format.largest()));
  if (format.offset == Offset::kMinimum) {
    chosen.offset = stored(low);
  } else if (chosen.scale > 0) {
    chosen.offset = std::clamp(std::nearbyint(-low / chosen.scale), 0.0f, float(format.largest()));
  }
  return chosen;
}

class RoundedRows final : public QuantizedRowSource {
 public:
  RoundedRows(RowSourcePtr source, const QuantizedFormat& format)
      : QuantizedRowSource(source->rows(), source->columns(), format, source->name()), source_(std::move(source)) {}

  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    const int64_t at_once =
        std::clamp<int64_t>(kBufferBytes / source_->row_bytes(), 1, std::max<int64_t>(end - begin, 1));
    std::vector<uint8_t> stored(size_t(at_once * source_->row_bytes()));
    std::vector<float> row(static_cast<size_t>(columns()));
    for (int64_t first = begin; first < end; first += at_once) {
      const int64_t count = std::min(at_once, end - first);
      source_->read_rows(first, first + count, stored.data());
      for (int64_t r = first; r < first + count; ++r) {
        widen_rows(stored.data() + (r - first) * source_->row_bytes(), source_->dtype(), columns(), row.data());
        round_row(row.data(), r, r - begin, out);
      }
    }
  }

  const RowSource* unrounded() const override { return source_.get(); }

 private:
  static constexpr int64_t kBufferBytes = 256 << 10;  // stays in the second-level cache

  void round_row(const float* row, int64_t r, int64_t i, const QuantizedRows& out) const {
    const int64_t groups = format().groups(columns());
    uint16_t* scales = out.scales + i * groups;
    uint16_t* offsets = out.offsets == nullptr ? nullptr : out.offsets + i * groups;
    quantize_row(row, columns(), format(), out.integers + i * columns(), scales, offsets);
    check_finite(*this, r, scales, offsets);
  }

  RowSourcePtr source_;
};

// Which formats widen() can turn into which.
bool holds(const QuantizedFormat& format, const QuantizedFormat& wider) {
  const bool offsets = format.offset == wider.offset || format.offset == Offset::kNone;
  return format.bits <= wider.bits && format.group % wider.group == 0 && format.scale_type == wider.scale_type &&
         offsets;
}

class WidenedRows final : public QuantizedRowSource {
 public:
  WidenedRows(std::shared_ptr<const QuantizedRowSource> source, const QuantizedFormat& format)
      : QuantizedRowSource(source->rows(), source->columns(), format, source->name()), source_(std::move(source)) {}

  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    const QuantizedFormat& from = source_->format();
    const int64_t groups = format().groups(columns()), narrow_groups = from.groups(columns()), count = end - begin;
    std::vector<uint16_t> scales(size_t(count * narrow_groups)), offsets(scales.size());
    source_->read_quantized(begin, end, {out.integers, scales.data(), offsets.data()});
    // Without offsets u is counted from the middle of its range.
    if (format().offset == Offset::kNone)
      for (int64_t i = 0; i < count * columns(); ++i)
        out.integers[i] = uint8_t(out.integers[i] + format().middle() - from.middle());
    for (int64_t r = 0; r < count; ++r)
      for (int64_t g = 0; g < groups; ++g) {
        const size_t stored = size_t(r * narrow_groups + g * format().group / from.group);
        const int64_t place = r * groups + g;
        out.scales[place] = scales[stored];
        if (format().offset == Offset::kNone) continue;
        out.offsets[place] = from.offset == Offset::kNone ? offset_of(scales[stored]) : offsets[stored];
      }
  }
  std::span<const int32_t> input_order() const override { return source_->input_order(); }

 private:
  // What stands for "u counted from the middle".
  uint16_t offset_of(uint16_t scale) const {
    const float middle = float(source_->format().middle());
    if (format().offset == Offset::kPoint) return narrow(middle, format().scale_type);
    const float minimum = -middle * widen(scale, format().scale_type);
    const uint16_t bits = narrow(minimum, format().scale_type);
    if (widen(bits, format().scale_type) != minimum)
      fail("A scale of {} leaves no room for {}; use --dtype f32.", widen(scale, format().scale_type),
           updraft::name(format()));
    return bits;
  }

  std::shared_ptr<const QuantizedRowSource> source_;
};

// NaN becomes `low`: a conversion of it would be undefined.
uint8_t clamped(float u, float low, float high) { return uint8_t(u >= low ? (u <= high ? u : high) : low); }

}  // namespace

std::string name(const QuantizedFormat& format) {
  std::string text = format.bits == 4 ? "int4" : "int8";
  if (format.group != 128) text += "-g" + std::to_string(format.group);
  if (format.offset != Offset::kNone) text += "-asym";
  return text;
}

void QuantizedRowSource::read_rows(int64_t begin, int64_t end, void* out) const {
  const int64_t groups = format_.groups(columns());
  std::vector<uint8_t> integers(static_cast<size_t>(columns()));
  std::vector<uint16_t> scales(static_cast<size_t>(groups)), offsets(static_cast<size_t>(groups));
  std::vector<float> sorted;
  const std::span<const int32_t> order = input_order();
  if (!order.empty()) sorted.resize(static_cast<size_t>(columns()));
  for (int64_t r = begin; r < end; ++r) {
    read_quantized(r, r + 1, {integers.data(), scales.data(), offsets.data()});
    float* row = static_cast<float*>(out) + (r - begin) * columns();
    float* to = order.empty() ? row : sorted.data();
    dequantize_row(integers.data(), scales.data(), offsets.data(), columns(), format_, to);
    for (size_t k = 0; k < order.size(); ++k) row[order[k]] = sorted[k];
  }
}

void quantize_row(const float* weights, int64_t columns, const QuantizedFormat& format, uint8_t* integers,
                  uint16_t* scales, uint16_t* offsets) {
  for (int64_t k = 0, g = 0; k < columns; k += format.group, ++g) {
    const int64_t count = std::min<int64_t>(format.group, columns - k);
    const GroupScale chosen = choose_scale(weights + k, count, format);
    scales[g] = narrow(chosen.scale, format.scale_type);
    if (format.offset != Offset::kNone) offsets[g] = narrow(chosen.offset, format.scale_type);
    const float smallest = format.offset == Offset::kNone && format.bits == 8 ? 1.0f : 0.0f;
    for (int64_t i = k; i < k + count; ++i) {
      float u = format.offset == Offset::kNone ? float(format.middle()) : 0.0f;
      if (chosen.scale > 0) {
        const float from = format.offset == Offset::kMinimum ? weights[i] - chosen.offset : weights[i];
        if (format.offset == Offset::kPoint) u = chosen.offset;
        u += std::nearbyint(from / chosen.scale);
      } else if (format.offset == Offset::kPoint) {
        u = chosen.offset;
      }
      integers[i] = clamped(u, smallest, float(format.largest()));
    }
  }
}

bool are_finite(const QuantizedFormat& format, int64_t groups, const uint16_t* scales, const uint16_t* offsets) {
  const auto finite = [&](uint16_t bits) { return std::isfinite(widen(bits, format.scale_type)); };
  return std::all_of(scales, scales + groups, finite) &&
         (format.offset == Offset::kNone || std::all_of(offsets, offsets + groups, finite));
}

void check_finite(const QuantizedRowSource& matrix, int64_t row, const uint16_t* scales, const uint16_t* offsets) {
  if (are_finite(matrix.format(), matrix.format().groups(matrix.columns()), scales, offsets)) return;
  fail("Row {} of {} has values that are not numbers or too large to be kept as {}; use --dtype f32.", row,
       matrix.name(), name(matrix.format()));
}

void dequantize_row(const uint8_t* integers, const uint16_t* scales, const uint16_t* offsets, int64_t columns,
                    const QuantizedFormat& format, float* out) {
  for (int64_t k = 0, g = 0; k < columns; k += format.group, ++g) {
    const float scale = widen(scales[g], format.scale_type);
    const float offset = format.offset == Offset::kNone ? 0 : widen(offsets[g], format.scale_type);
    const float zero = format.offset == Offset::kNone    ? float(format.middle())
                       : format.offset == Offset::kPoint ? offset
                                                         : 0.0f;
    for (int64_t i = k; i < std::min(columns, k + format.group); ++i) {
      out[i] = scale * (float(integers[i]) - zero);
      if (format.offset == Offset::kMinimum) out[i] = out[i] + offset;
    }
  }
}

std::shared_ptr<const QuantizedRowSource> quantize(RowSourcePtr source, const QuantizedFormat& format) {
  CHECK((format.bits == 4 || format.bits == 8) && (format.group == 32 || format.group == 128))
      << format.bits << " bits in groups of " << format.group;
  return std::make_shared<RoundedRows>(std::move(source), format);
}

std::shared_ptr<const QuantizedRowSource> widen(std::shared_ptr<const QuantizedRowSource> source,
                                                const QuantizedFormat& format) {
  if (source->format() == format) return source;
  if (!holds(source->format(), format)) return nullptr;
  return std::make_shared<WidenedRows>(std::move(source), format);
}

}  // namespace updraft
