// StoredTensor: where a tensor of a safetensors or PyTorch file lies, and the RowSource that reads its rows from there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/random_access.h"
#include "base/row_source.h"

namespace updraft::checkpoint {

struct StoredTensor {
  std::string name;  // as the file has it
  std::string type;  // safetensors' names for both containers: "BF16", "F8_E4M3"
  std::vector<int64_t> shape;
  int64_t begin = 0;       // of the first element, in bytes from the start of the file
  int64_t bytes = 0;       // that its elements take
  int64_t row_stride = 0;  // elements from row to row where they are not packed; 0: packed
};

// "F32", "F16", "BF16"; empty for every other type.
std::optional<DType> dtype_of(const std::string& stored_type);

// "[4096, 1024]"
std::string show_shape(const std::vector<int64_t>&);

// The product, or nothing when it (or any part of it, whatever zeros follow) does not fit 63 bits or a size is
// negative.
std::optional<int64_t> element_count(const std::vector<int64_t>& shape);

// Rows of a tensor of one of our types; `tensor` lies inside the file (its parser has checked that).
RowSourcePtr make_file_rows(std::shared_ptr<const RandomAccess>, const StoredTensor&, DType, int64_t rows,
                            int64_t columns);

}  // namespace updraft::checkpoint
