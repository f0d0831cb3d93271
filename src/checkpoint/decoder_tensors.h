// The tensors of a decoder by Hugging Face's names, with their shapes, as a config implies them: what a container must
// hold, what a synthetic model makes and what write_folder writes. Layer by layer, in the order of the computation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace updraft::checkpoint {

struct DecoderTensor {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // row-major, [out, in] or [n]

  int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  int64_t columns() const { return shape.back(); }
};

std::vector<DecoderTensor> decoder_tensors(const ModelConfig&);

}  // namespace updraft::checkpoint
