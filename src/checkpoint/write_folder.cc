// write_folder: any checkpoint as a Hugging Face folder: its weights in one type, config.json, generation_config.json;
// a source folder's tokenizer files are carried along.
#include "checkpoint/checkpoint.h"
#include "checkpoint/decoder_tensors.h"
#include "checkpoint/folder_writer.h"

namespace updraft::checkpoint {

void write_folder(const Checkpoint& checkpoint, const std::filesystem::path& folder, DType dtype, int64_t shard_bytes,
                  const std::function<void(int64_t done, int64_t total)>& progress, int threads) {
  std::vector<FolderWork> works;
  for (const DecoderTensor& tensor : decoder_tensors(checkpoint.config()))
    works.push_back(copy_work(tensor.name, tensor.shape,
                              convert(checkpoint.find(tensor.name, tensor.rows(), tensor.columns()), dtype)));
  const TextFiles texts = {{"generation_config.json", generation_config_json(checkpoint.generation_config())},
                           {"config.json", to_json(checkpoint.config(), dtype).dump(2) + "\n"}};
  write_works(folder, works, shard_bytes, checkpoint.path(), texts, progress, threads);
}

}  // namespace updraft::checkpoint
