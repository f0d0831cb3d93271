// The values of synthetic weights: a function of (seed, tensor's name, element's index) alone, so any range of rows
// gives the same values, and the same in every element type. Matrices and biases: random sign, magnitude in [2^-7,
// 2^-5), root mean square 0.019, each exact in bfloat16 and in half precision; norms: in [1, 1.12]. Activations stay
// sane through any depth. Made to keep up with memory: two values at a time
// come from a table of noise, read from a random place and flipped by a random mask every 1024 elements.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/dtype.h"

namespace updraft::checkpoint {

class SyntheticValues {
 public:
  SyntheticValues(uint64_t seed, std::string_view tensor_name);

  // Writes elements [begin, end) of the tensor (row-major) as `dtype`.
  void write(int64_t begin, int64_t end, DType dtype, void* out) const;

 private:
  uint64_t key_;
  bool norm_;
};

}  // namespace updraft::checkpoint
