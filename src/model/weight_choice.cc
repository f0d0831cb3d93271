#include "model/weight_choice.h"

#include <algorithm>

#include "base/check.h"

namespace updraft::model {
namespace {

using checkpoint::StoredIntegers;
using compute::Packing;

DType half_type(DType natural) { return natural == DType::kF32 ? DType::kF16 : natural; }

Kept kept_as(DType type) { return {compute::packing_of(type), {}}; }
Kept kept_as(const QuantizedFormat& format) { return {compute::packing_of(format), format}; }

// A format that holds all of these: nothing is lost but where a minimum has to take the place of a zero point.
QuantizedFormat common_format(std::span<const std::optional<StoredIntegers>> parts) {
  QuantizedFormat common = parts.front()->format;
  for (const auto& part : parts) {
    const QuantizedFormat& format = part->format;
    common.bits = std::max(common.bits, format.bits);
    common.group = std::min(common.group, format.group);
    if (format.scale_type != common.scale_type) common.scale_type = DType::kF16;
    if (common.offset == Offset::kNone || format.offset == Offset::kMinimum) common.offset = format.offset;
  }
  return common;
}

}  // namespace

const char* const kWeightChoices =
    "auto (as stored), f32, f16, bf16, int8, int8-g32, int4, int4-g32 (g32: a scale for each 32 weights, else 128; "
    "-asym behind an integer type: with offsets)";

std::optional<WeightChoice> parse_weight_choice(std::string_view text) {
  if (text == "auto") return WeightChoice{};
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16})
    if (text == name(type)) return WeightChoice{type, {}};
  for (int bits : {8, 4})
    for (int group : {128, 32})
      for (Offset offset : {Offset::kNone, Offset::kMinimum}) {
        const QuantizedFormat format{bits, group, offset, DType::kF16};
        if (text == name(format)) return WeightChoice{{}, format};
      }
  return std::nullopt;
}

std::string name(const WeightChoice& choice) {
  if (choice.dtype) return std::string(name(*choice.dtype));
  return choice.format ? name(*choice.format) : "auto";
}

double Kept::bits_per_weight() const {
  if (compute::is_integer(packing)) return format.bits_per_weight();
  return packing == Packing::kF32 ? 32 : 16;
}

DType Kept::dtype() const {
  CHECK(!compute::is_integer(packing)) << "integers have no element type";
  return compute::dtype_of(packing);
}

std::string name(const Kept& kept) {
  return compute::is_integer(kept.packing) ? name(kept.format) : std::string(compute::name(kept.packing));
}

Kept choose_packing(const WeightChoice& choice, MatrixRole role, DType natural,
                    std::span<const std::optional<StoredIntegers>> parts) {
  if (choice.dtype) return kept_as(*choice.dtype);
  if (choice.format) {
    if (role == MatrixRole::kEmbedding) return kept_as(half_type(natural));
    if (role == MatrixRole::kHead && choice.format->bits < 8)
      return kept_as({8, choice.format->group, Offset::kNone, choice.format->scale_type});
    return kept_as(*choice.format);
  }
  const auto is_stored_so = [](const auto& part) { return part.has_value(); };
  if (parts.empty() || !std::all_of(parts.begin(), parts.end(), is_stored_so)) return kept_as(natural);
  if (role == MatrixRole::kEmbedding && !parts.front()->exact) return kept_as(half_type(natural));
  return kept_as(common_format(parts));
}

}  // namespace updraft::model
