// GgufFile: the header of a GGUF v3 file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) as plain values:
// its keys and where each tensor's bytes lie. Parsing trusts nothing: every count and length is bounded by what is left
// of the file before anything is allocated, tensors must lie inside the file, aligned, and not overlap. What a key
// means is gguf_config's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/random_access.h"
#include "checkpoint/gguf_blocks.h"

namespace updraft::checkpoint {

// Integers of every width become int64_t, floats double; an array is of integers (or booleans), floats or strings.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>>;

struct GgufTensor {
  std::string name;            // the file's own: "blk.0.attn_q.weight"
  const GgufTypeTraits* type;  // one of those that this program reads
  std::vector<int64_t> shape;  // row-major as in Hugging Face's files (the file stores it reversed)
  int64_t offset;              // from the start of the file
  int64_t bytes;
};

struct GgufFile {
  std::map<std::string, GgufValue, std::less<>> values;
  std::vector<GgufTensor> tensors;  // in the file's order
};

// Throws Error naming the file and the key or tensor that is wrong.
GgufFile parse_gguf(const RandomAccess&);

}  // namespace updraft::checkpoint
