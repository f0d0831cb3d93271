// Rotary position embedding as tables: cos and sin of position * inverse frequency, already multiplied by the attention
// factor, computed in double and rounded once. A sequence keeps one table for life. Made by model/rope.
// Source: Su et al. 2021; transformers modeling_rope_utils.py for the scaled kinds.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace updraft::compute {

// Pairs are (i, i + pairs) of a head ("rotate half"): out_i = x_i cos - x_{i+pairs} sin, out_{i+pairs} = x_{i+pairs}
// cos + x_i sin.
struct RopeTable {
  int64_t positions = 0;
  int64_t pairs = 0;       // head_dim / 2
  std::vector<float> cos;  // [positions, pairs]
  std::vector<float> sin;  // [positions, pairs]
};

struct RopeTables {
  std::vector<std::shared_ptr<const RopeTable>> tables;
};

}  // namespace updraft::compute
