// Which files of a folder hold the weights, and what tensors are in them under their canonical names.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/stored_tensor.h"

namespace updraft::checkpoint {

struct PlacedTensor {
  std::string name;  // canonical
  std::shared_ptr<const File> file;
  StoredTensor stored;
};

struct WeightFiles {
  std::string container;              // "safetensors" or "pytorch_model.bin"
  std::vector<PlacedTensor> tensors;  // sorted by name
};

// Finds, opens and checks them all: those of transformers' names, else a folder's only .safetensors file. Throws Error:
// no weights, a missing or misnamed shard, a tensor that is not in the shard the index names or is there twice, and
// whatever is wrong inside a file.
WeightFiles open_weight_files(const std::filesystem::path& folder);

// An index file's weight_map: tensor to shard. Throws Error also for a shard's name that leaves the folder.
std::map<std::string, std::string> parse_weight_index(std::string_view text, const std::string& where);

}  // namespace updraft::checkpoint
