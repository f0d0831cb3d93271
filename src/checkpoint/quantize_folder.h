// quantize_folder: a checkpoint with its matrices rounded to 4 or 8 bits, as a Hugging Face folder in the
// compressed-tensors format (pack-quantized). Embedding, LM head, norms and biases keep the source's type. Each matrix
// takes the largest group of 128, 64 and 32 columns that divides its inputs, else one scale a row.
// Source: compressed-tensors compressors/pack_quantized, quantization/quant_config.py.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/quantized_rows.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/decoder_tensors.h"
#include "checkpoint/folder_writer.h"

namespace updraft::checkpoint {

struct QuantizeOptions {
  int bits = 4;
  int64_t group = 128;      // the largest allowed: 128, 64, 32; 0: one scale a row
  bool asymmetric = false;  // a zero point a group
  int64_t shard_bytes = 5'000'000'000;
  int threads = 0;         // 0: every processor this process may use
  TextFiles carried = {};  // written too: the tokenizer of a source that is no folder
};

// A matrix and how it is rounded. The format's group may be 64 or a whole row here.
struct QuantizedMatrix {
  DecoderTensor tensor;
  QuantizedFormat format;
};
// Every matrix of the decoder layers, in the order of the computation.
std::vector<QuantizedMatrix> plan_quantization(const Checkpoint&, const QuantizeOptions&);

// How rows become integers. The plain one rounds each weight to the nearest.
class MatrixQuantizer {
 public:
  virtual ~MatrixQuantizer() = default;
  virtual void prepare(const QuantizedMatrix&) {}  // once, before the rows, by itself; matrices come in plan's order
  // Thread-safe. Rows [begin, end) as the format has them.
  virtual void quantize(const QuantizedMatrix&, int64_t begin, int64_t end, const QuantizedRows& out) = 0;
};
std::unique_ptr<MatrixQuantizer> make_nearest_quantizer(const Checkpoint&);

void quantize_folder(const Checkpoint&, const std::filesystem::path& folder, const QuantizeOptions&, MatrixQuantizer&,
                     const WriteProgress&);

// Rows of a 16- or 32-bit source as F32.
void read_rows_f32(const RowSource&, int64_t begin, int64_t end, float* out);

}  // namespace updraft::checkpoint
