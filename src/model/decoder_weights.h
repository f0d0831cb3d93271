// DecoderWeights: the one list of a decoder's tensor names, shapes and packings.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "compute/machine.h"
#include "model/weight_choice.h"

namespace updraft::model {

struct LayerWeights {
  int index = 0;
  compute::AttentionSpec attention;
  compute::Norm attention_norm, mlp_norm;
  compute::Weight qkv;      // [(query_heads + 2 key_value_heads) head_dim, hidden]
  compute::Weight output;   // [hidden, query_heads head_dim]
  compute::Weight gate_up;  // [2 intermediate, hidden]
  compute::Weight down;     // [hidden, intermediate]
};

struct DecoderWeights {
  compute::Weight embedding;  // [vocabulary, hidden]
  std::vector<LayerWeights> layers;
  compute::Norm final_norm;
  compute::Weight head;  // [vocabulary, hidden]; the embedding itself when tied
  // Under auto, what had to be rounded on its way into memory: "Q6_K to int8-g32".
  std::set<std::string> rounded;

  int64_t bytes() const;                          // kept in memory
  std::vector<compute::Weight> streamed() const;  // the matrices that every step reads once, in that order
  int64_t bytes_streamed_per_step() const;        // theirs and the norms': all but the embedding table (unless tied)
  // The packings of the layers, the head and the embedding: "bf16", "int4, head int8, embedding bf16".
  std::string packing_names() const;
  // What enters their products on this machine, each once: "bf16x2", "int8 per row and group".
  std::string activation_names(const compute::MachineInfo&) const;
};

// Reads and packs every tensor; throws Error naming a missing, misshapen or unexpected one. `loaded` counts source
// bytes.
DecoderWeights load_decoder_weights(const checkpoint::Checkpoint&, compute::Machine&, const WeightChoice&,
                                    const std::function<void(int64_t done, int64_t total)>& loaded);

}  // namespace updraft::model
