// A Hugging Face folder as a Checkpoint: config.json, generation_config.json, and the weights as safetensors
// (preferred) or pytorch_model*.bin, in one file or in shards with an index.
#pragma once

#include <filesystem>
#include <memory>

#include "checkpoint/checkpoint.h"

namespace updraft::checkpoint {

// Throws Error naming the file and tensor that are wrong.
std::unique_ptr<Checkpoint> open_folder(const std::filesystem::path&);

}  // namespace updraft::checkpoint
