// What the keys of a GGUF file mean: the same ModelConfig, GenerationConfig and vocabulary that a Hugging Face folder
// gives. Architectures llama (Llama and Mistral), qwen2 and qwen3. A key that would change the result and is not
// supported is refused by name, never ignored.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_file.h"

namespace updraft::checkpoint {

// Reads a whole small tensor as F32: the RoPE factors that some files keep as a tensor.
using GgufVectorReader = FunctionRef<std::vector<float>(const GgufTensor&)>;

// Throws Error naming `where` (the file) and the key.
ModelConfig gguf_model_config(const GgufFile&, const std::string& where, GgufVectorReader);
GenerationConfig gguf_generation_config(const GgufFile&, const std::string& where, const ModelConfig&);
// Empty `model` when the file holds no vocabulary.
EmbeddedVocabulary gguf_vocabulary(const GgufFile&, const std::string& where, const ModelConfig&);

const GgufTensor* find_tensor(const GgufFile&, std::string_view name);  // null: none

}  // namespace updraft::checkpoint
