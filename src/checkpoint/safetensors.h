// Reads the header of a safetensors file under all the rules of the reference implementation: sizes agree, tensors
// cover the data without overlap or hole, nothing is cut off or left over. Duplicate names are refused too. Reads no
// weights. Source: https://github.com/huggingface/safetensors, README (format) and safetensors/src/tensor.rs (checks).
#pragma once

#include <string_view>
#include <vector>

#include "base/random_access.h"
#include "checkpoint/stored_tensor.h"

namespace updraft::checkpoint {

// In the order of the data. Throws Error naming the file and, where one is at fault, the tensor.
std::vector<StoredTensor> read_safetensors(const RandomAccess& file);

// Bits of one element of a type in a header ("BF16": 16); 0 for a type that safetensors does not have.
int bits_of_safetensors_type(std::string_view type);

}  // namespace updraft::checkpoint
