// The quantized matrices of a folder: several stored tensors (integers, scales, zero points) stand for one matrix,
// which is known by the name it has in a model that is not quantized.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/packed_rows.h"
#include "checkpoint/weight_files.h"

namespace updraft::checkpoint {

class QuantizedTensors {
 public:
  // Takes the parts out of `tensors`, and the biases of zeros that AutoGPTQ gives to matrices without any. Throws Error
  // for parts that have no integers beside them.
  QuantizedTensors(const ModelConfig&, std::vector<PlacedTensor>& tensors);

  std::vector<TensorInfo> infos() const;
  bool has(std::string_view name) const { return matrices_.find(name) != matrices_.end(); }
  // has(name). A QuantizedRowSource.
  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const;

 private:
  struct Matrix {
    std::map<std::string, LocatedTensor> stored;  // by the end of its name: "qweight"
    std::string file;                             // of the integers
    int64_t bytes = 0;
  };
  QuantizedParts parts_of(const Matrix&) const;

  QuantizationConfig config_;
  std::map<std::string, Matrix, std::less<>> matrices_;  // "model.layers.0.mlp.up_proj.weight"
};

}  // namespace updraft::checkpoint
