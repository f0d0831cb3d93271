#include "compute/weight.h"

#include <algorithm>

#include "base/check.h"

namespace updraft::compute {

std::string_view name(Packing packing) {
  switch (packing) {
    case Packing::kF32:
      return "f32";
    case Packing::kF16:
      return "f16";
    case Packing::kBF16:
      return "bf16";
    case Packing::kInt8:
      return "int8";
    case Packing::kInt4:
      return "int4";
  }
  return "?";
}

Packing packing_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return Packing::kF32;
    case DType::kF16:
      return Packing::kF16;
    case DType::kBF16:
      return Packing::kBF16;
  }
  return Packing::kF32;
}

DType dtype_of(Packing packing) {
  switch (packing) {
    case Packing::kF16:
      return DType::kF16;
    case Packing::kBF16:
      return DType::kBF16;
    case Packing::kF32:
    case Packing::kInt8:
    case Packing::kInt4:
      break;
  }
  return DType::kF32;
}

Packing packing_of(const QuantizedFormat& format) { return format.bits == 4 ? Packing::kInt4 : Packing::kInt8; }

int64_t MatrixSource::rows() const {
  int64_t sum = 0;
  for (const Part& part : parts) sum += part.weight->rows();
  return sum;
}

int64_t MatrixSource::columns() const {
  CHECK(!parts.empty()) << "a matrix without parts";
  return parts.front().weight->columns();
}

namespace {

const QuantizedRowSource& quantized(const MatrixSource::Part& part) {
  const auto* source = dynamic_cast<const QuantizedRowSource*>(part.weight.get());
  CHECK(source != nullptr) << "an integer packing of rows that are not quantized";
  return *source;
}

}  // namespace

const QuantizedFormat& MatrixSource::format() const {
  CHECK(!parts.empty()) << "a matrix without parts";
  for (const Part& part : parts)
    CHECK(quantized(part).format() == quantized(parts.front()).format())
        << name(quantized(part).format()) << " beside " << name(quantized(parts.front()).format());
  return quantized(parts.front()).format();
}

std::span<const int32_t> MatrixSource::input_order() const {
  CHECK(!parts.empty()) << "a matrix without parts";
  const std::span<const int32_t> first = quantized(parts.front()).input_order();
  for (const Part& part : parts) {
    const std::span<const int32_t> order = quantized(part).input_order();
    CHECK(std::equal(order.begin(), order.end(), first.begin(), first.end())) << "parts in different orders";
  }
  return first;
}

}  // namespace updraft::compute
