// Weights as the seam sees them: where the rows come from (MatrixSource) and an opaque packed matrix (Weight). How a
// packed matrix lies in memory is its machine's secret.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/quantized_rows.h"
#include "base/row_source.h"

namespace updraft::compute {

// How a matrix is kept in the machine's memory. The integer packings keep a QuantizedFormat beside them. A new
// quantization is a value here plus kernels.
enum class Packing : uint8_t { kF32, kF16, kBF16, kInt8, kInt4 };

std::string_view name(Packing packing);  // "f32", "f16", "bf16", "int8", "int4"
Packing packing_of(DType dtype);         // the one that keeps a 16- or 32-bit type as it is
Packing packing_of(const QuantizedFormat& format);
DType dtype_of(Packing packing);  // of the values it is packed from; F32 for the integer packings
constexpr bool is_integer(Packing packing) { return packing == Packing::kInt8 || packing == Packing::kInt4; }

// W [rows, columns] as parts stacked by output row (q|k|v, gate|up). All parts have the same columns.
struct MatrixSource {
  struct Part {
    RowSourcePtr weight;  // [part rows, columns]
    RowSourcePtr bias;    // [1, part rows], or null: no bias. Kept in F32 as the source gives it
  };
  std::vector<Part> parts;

  int64_t rows() const;
  int64_t columns() const;
  // The format that all parts share; a source for an integer packing has one, another is a programmer's error.
  const QuantizedFormat& format() const;
  std::span<const int32_t> input_order() const;  // likewise shared; see QuantizedRowSource
};

// A matrix packed by one machine for itself. y = x W^T + bias. Passing it to another machine is a programmer's error.
class PackedMatrix {
 public:
  virtual ~PackedMatrix() = default;
  int64_t rows = 0;     // outputs
  int64_t columns = 0;  // inputs
  Packing packing = Packing::kF32;
  QuantizedFormat format;  // of an integer packing
  int64_t bytes = 0;       // streamed when the whole matrix is used once: weights + scales + bias
};
using Weight = std::shared_ptr<const PackedMatrix>;

// RMSNorm: y_i = x_i / sqrt(mean(x^2) + epsilon) * weight_i. Weight: a packed vector (Machine::pack_vector).
// Source: Zhang and Sennrich 2019; transformers LlamaRMSNorm.
struct Norm {
  Weight weight;
  float epsilon = 1e-5f;
};

}  // namespace updraft::compute
