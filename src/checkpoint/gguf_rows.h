// The rows of one tensor of a GGUF file: element types as they are stored; Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 as the
// integers they are (a QuantizedRowSource); other block types dequantized to F32 (convert() rounds from there).
// Optionally undoes the interleaving of rotary rows: within a head, file row 2 i + h is row i + h * head_dim / 2 of
// Hugging Face's layout.
#pragma once

#include <memory>

#include "base/random_access.h"
#include "base/row_source.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_file.h"

namespace updraft::checkpoint {

// `interleaved_head_dim`: 0 for rows in their natural order; else even, and the tensor has whole heads. A vector (a
// bias) is one row whose elements are interleaved instead.
RowSourcePtr make_gguf_rows(std::shared_ptr<const RandomAccess>, const GgufTensor&, int interleaved_head_dim);

// The integers of a block type, their own or the nearest; none for element types.
std::optional<StoredIntegers> stored_integers(GgufType);

}  // namespace updraft::checkpoint
