// The rows of one tensor of a GGUF file: element types as they are stored, block types dequantized to F32 (convert()
// rounds from there). Optionally undoes the interleaving of rotary rows: within a head, file row 2 i + h is row
// i + h * head_dim / 2 of Hugging Face's layout.
#pragma once

#include <memory>

#include "base/random_access.h"
#include "base/row_source.h"
#include "checkpoint/gguf_file.h"

namespace updraft::checkpoint {

// `interleaved_head_dim`: 0 for rows in their natural order; else even, and the tensor has whole heads. A vector (a
// bias) is one row whose elements are interleaved instead.
RowSourcePtr make_gguf_rows(std::shared_ptr<const RandomAccess>, const GgufTensor&, int interleaved_head_dim);

}  // namespace updraft::checkpoint
