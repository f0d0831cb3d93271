#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "checkpoint/gguf.h"

namespace updraft::checkpoint {

namespace fs = std::filesystem;

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return open_folder(path);
  if (path.extension() == ".gguf") return open_gguf(path);
  if (!is_there(path)) fail("{}: there is no such folder or file.", path.string());
  if (path.extension() == ".safetensors" || path.extension() == ".bin" || path.extension() == ".json")
    fail("{}: is one file of a model: give the path of its folder.", path.string());
  fail("{}: is neither the folder of a model nor a .gguf file.", path.string());
}

}  // namespace updraft::checkpoint
