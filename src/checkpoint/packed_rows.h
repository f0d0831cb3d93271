// PackedRows: the matrices of GPTQ, AWQ and compressed-tensors checkpoints as QuantizedRowSource. Groups of any
// multiple of 32 columns (or a whole row) come out as groups of 128 or 32 with repeated scales, so no value changes;
// scales stored in F32 are rounded to F16. The parts are checked against each other before a weight is read. Source:
// AutoGPTQ nn_modules/qlinear; AutoAWQ utils/packing_utils.py; compressed-tensors compressors/pack_quantized.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/quantized_rows.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/stored_tensor.h"

namespace updraft::checkpoint {

// A stored tensor and the file it lies in.
struct LocatedTensor {
  std::shared_ptr<const RandomAccess> file;
  StoredTensor stored;
};

// The tensors of one matrix; what a method does not have, or a file leaves out, is null.
struct QuantizedParts {
  const LocatedTensor* integers = nullptr;  // qweight, weight_packed, or weight as I8
  const LocatedTensor* scales = nullptr;    // scales, weight_scale
  const LocatedTensor* zeros = nullptr;     // qzeros, weight_zero_point
  const LocatedTensor* groups = nullptr;    // g_idx, weight_g_idx: the group of each column
  const LocatedTensor* shape = nullptr;     // weight_shape
};

// `name`: of the matrix, for messages. Throws Error naming file and tensor when a part is missing, has another shape
// or type than `rows` x `columns` call for, or holds a group or zero point that cannot be.
std::shared_ptr<const QuantizedRowSource> make_packed_rows(const std::string& name, const QuantizedParts&,
                                                           const QuantizationConfig&, int64_t rows, int64_t columns);

// [out, in] as the parts' shapes tell it; {} when they tell nothing. Reads weight_shape where there is one.
std::vector<int64_t> packed_shape(const std::string& name, const QuantizedParts&, const QuantizationConfig&);

// The format of make_packed_rows()'s rows, for who plans memory: nothing is read but compressed-tensors' zero points,
// which may all say nothing. None where the parts do not tell; make_packed_rows() then says what is wrong with them.
std::optional<QuantizedFormat> packed_format(const std::string& name, const QuantizedParts&, const QuantizationConfig&);

}  // namespace updraft::checkpoint
