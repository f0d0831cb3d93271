// FolderWriter: the machinery below every folder that Updraft writes. Tensors come from works, each of which computes
// the same rows of one or several tensors; they are cut into shards, computed on all threads and streamed: no more than
// a few MiB are held. The folder is built beside its final place as NAME.partial, flushed to disk and renamed when it
// is whole; a run that is killed leaves NAME.partial without a config.json, which the next run into the same place
// starts afresh.
// Source: https://huggingface.co/docs/safetensors (format), huggingface_hub split_torch_state_dict_into_shards (names).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace updraft::checkpoint {

// A tensor in the making. Its data are `units` pieces of equal size, each for `unit_rows` rows of its work (the last
// piece may stand for fewer); or `content`, where it is known from the start.
struct WrittenTensor {
  std::string name, type;  // "BF16", "I32"
  std::vector<int64_t> shape;
  int64_t unit_rows = 1, unit_bytes = 0;
  std::string content;
};

struct FolderWork {
  std::vector<WrittenTensor> tensors;  // lie in one shard, one after another
  int64_t rows = 1;
  int64_t chunk_rows = 1;         // computed together; a multiple of every tensor's unit_rows
  std::function<void()> prepare;  // called once before the rows, by itself; may be empty
  // Fills out[i] with tensor i's units of rows [begin, end); begin is a multiple of chunk_rows. Thread-safe. `out` is
  // null for tensors with content.
  std::function<void(int64_t begin, int64_t end, std::span<std::byte* const> out)> produce;
};

using WriteProgress = std::function<void(int64_t done, int64_t total)>;  // bytes

// Files by name and text, written after the weights in their order: config.json last, for it makes a folder complete.
using TextFiles = std::vector<std::pair<std::string, std::string>>;

// `tokenizer_from`: a folder whose tokenizer and template files are carried along; may be empty. threads 0: every
// processor this process may use. Throws Error; before any work where the place cannot take the folder.
void write_works(const std::filesystem::path& folder, const std::vector<FolderWork>&, int64_t shard_bytes,
                 const std::filesystem::path& tokenizer_from, const TextFiles&, const WriteProgress&, int threads);

// Throws Error where `needed_bytes` are more than `free_bytes`.
void check_space(const std::filesystem::path& folder, int64_t free_bytes, int64_t needed_bytes);

// Rows of a source as they are.
FolderWork copy_work(const std::string& name, std::vector<int64_t> shape, const RowSourcePtr& rows);

std::string generation_config_json(const GenerationConfig&);

}  // namespace updraft::checkpoint
