// Reads a pytorch_model.bin: the zip's directory and the pickle in it, as data. It builds the tensors of a state dict
// and executes nothing: a global it does not know is an Error that names it. Reads no weights. Source: PKWARE
// APPNOTE.TXT (zip, ZIP64), Python's pickletools, PyTorch's torch/_weights_only_unpickler.py (what is safe).
#pragma once

#include <vector>

#include "base/random_access.h"
#include "checkpoint/stored_tensor.h"

namespace updraft::checkpoint {

// In the order of the state dict. Throws Error naming the file and, where one is at fault, the tensor.
std::vector<StoredTensor> read_torch_file(const RandomAccess& file);

}  // namespace updraft::checkpoint
