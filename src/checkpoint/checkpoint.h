// Checkpoint: a model on disk, whatever its container: a Hugging Face folder (safetensors or pytorch_model*.bin, one
// file or shards with an index), a GGUF file, or a synthetic model made from a seed. It answers by Hugging Face's
// tensor names and gives rows on demand; it never holds weights in memory. Opening checks everything that can be
// checked without reading the weights and throws Error naming file and tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/quantized_rows.h"
#include "base/row_source.h"
#include "checkpoint/generation_config.h"
#include "checkpoint/model_config.h"

namespace updraft::checkpoint {

// The integers of a tensor that is stored quantized: in a format of their own (exact; find() then gives a
// QuantizedRowSource), or, where machines know no such format, in the nearest.
struct StoredIntegers {
  QuantizedFormat format;
  bool exact = true;
};

struct TensorInfo {
  std::string name;            // Hugging Face's: "model.layers.0.self_attn.q_proj.weight"
  std::string stored_type;     // as the file calls it: "BF16", "Q4_1"
  std::vector<int64_t> shape;  // row-major, [out, in]
  int64_t stored_bytes = 0;
  std::string file;                             // name of the shard, for messages and `inspect`
  std::optional<StoredIntegers> integers = {};  // none: stored as F32, F16 or BF16
};

// What a GGUF file says of its vocabulary: enough for text/ to build the tokenizer. Empty `model`: none in this
// container.
struct EmbeddedVocabulary {
  std::string model;  // "llama" (SentencePiece) or "gpt2" (byte-level BPE)
  std::string pre;    // splitting rule of "gpt2": "smollm", "llama-bpe", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;       // 1 normal 2 unknown 3 control 4 user 5 unused 6 byte
  std::vector<std::string> merges;  // "a b"
  int32_t bos_id = -1, eos_id = -1, unknown_id = -1, padding_id = -1;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string chat_template, tool_template;  // the latter for requests with tools; empty: none
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  const ModelConfig& config() const { return config_; }
  const GenerationConfig& generation_config() const { return generation_config_; }
  const std::string& container() const {
    return container_;
  }  // "safetensors", "pytorch_model.bin", "gguf", "synthetic"
  const std::filesystem::path& path() const { return path_; }  // the folder or file; empty for synthetic
  DType natural_dtype() const { return natural_dtype_; }       // what --dtype auto keeps; F16 for GGUF's block types

  virtual const std::vector<TensorInfo>& tensors() const = 0;
  const TensorInfo* info(std::string_view name) const;  // null: no such tensor
  // The tensor's rows (a vector is one row; rank 2 as [out, in]); read_rows() dequantizes what is stored in blocks.
  // Throws Error when there is no such tensor or it does not have exactly `rows` x `columns` elements.
  virtual RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const = 0;
  virtual const EmbeddedVocabulary* vocabulary() const { return nullptr; }

 protected:
  ModelConfig config_;
  GenerationConfig generation_config_;
  std::string container_;
  std::filesystem::path path_;
  DType natural_dtype_ = DType::kBF16;
};

// A folder or a .gguf file.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path&);

struct SyntheticOptions {
  ModelConfig config;
  DType dtype = DType::kBF16;
  uint64_t seed = 1;
};
// `spec`: "mistral-7b", "mistral-7b:layers=4", or the path of a config.json. Throws Error listing the known names.
SyntheticOptions parse_synthetic(const std::string& spec);
std::unique_ptr<Checkpoint> make_synthetic(const SyntheticOptions&);
// Writes a checkpoint as a Hugging Face folder (sharded safetensors, config.json); atomic: no half-written folder is
// left. threads 0: every processor this process may use.
void write_folder(const Checkpoint&, const std::filesystem::path& folder, DType, int64_t shard_bytes,
                  const std::function<void(int64_t done, int64_t total)>&, int threads = 0);

// Element types rounded to another: the source of --dtype. Returns the source itself when it has the type already.
RowSourcePtr convert(RowSourcePtr, DType);

}  // namespace updraft::checkpoint
