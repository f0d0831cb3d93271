// A GGUF file as a Checkpoint: its keys give the same config, its vocabulary the same tokenizer, and its tensors are
// found by Hugging Face's names in Hugging Face's shapes and row order (architecture `llama` stores the rows of q and k
// interleaved; they are put back while reading). Block types are dequantized to F32 while reading.
#pragma once

#include <filesystem>
#include <memory>

#include "base/random_access.h"
#include "checkpoint/checkpoint.h"

namespace updraft::checkpoint {

// Throws Error naming the file and the key or tensor that is wrong or not supported.
std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path&);
// The same from any bytes; `path` only names them.
std::unique_ptr<Checkpoint> open_gguf(std::shared_ptr<const RandomAccess>, const std::filesystem::path& path);

}  // namespace updraft::checkpoint
