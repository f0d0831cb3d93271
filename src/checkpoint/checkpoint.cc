#include "checkpoint/checkpoint.h"

namespace updraft::checkpoint {

const TensorInfo* Checkpoint::info(std::string_view name) const {
  for (const TensorInfo& tensor : tensors())
    if (tensor.name == name) return &tensor;
  return nullptr;
}

}  // namespace updraft::checkpoint
