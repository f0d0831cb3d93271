#include "compute/weight.h"

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
  }
  return "?";
}

double bits_per_weight(Packing packing) { return packing == Packing::kF32 ? 32 : 16; }

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

int64_t MatrixSource::rows() const {
  int64_t sum = 0;
  for (const Part& part : parts) sum += part.weight->rows();
  return sum;
}

int64_t MatrixSource::columns() const {
  CHECK(!parts.empty()) << "a matrix without parts";
  return parts.front().weight->columns();
}

}  // namespace updraft::compute
