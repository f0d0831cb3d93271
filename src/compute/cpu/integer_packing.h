// IntegerMatrix: a weight matrix in an integer packing, as the CPU machine keeps it (integer_layout.h). Packed once, in
// parallel, from rows that are quantized already or rounded while they are read; never a second copy.
#pragma once

#include <memory>
#include <vector>

#include "compute/cpu/integer_layout.h"
#include "compute/cpu/packing.h"

namespace updraft::compute::cpu {

struct IntegerMatrix final : PanelMatrix {
  IntegerLayout layout;
  IntegerStrides strides;            // layout.strides()
  std::vector<int32_t> input_order;  // column k multiplies activation input_order[k]; empty: activation k

  const uint8_t* headers_at(int64_t panel) const { return weights.as<const uint8_t>() + layout.headers_at(panel); }
  const uint8_t* weights_at(int64_t panel) const { return weights.as<const uint8_t>() + layout.weights_at(panel); }
  void read_row(int64_t row, float* out) const override;
};

// Every part is a QuantizedRowSource of one format and input order; matrices of `striped_bytes` and more lie in
// stripes. Throws Error when memory is short or the source fails.
std::shared_ptr<IntegerMatrix> pack_integers(const MatrixSource& source, int64_t striped_bytes, const Kernels& kernels,
                                             HugeArena& arena, ThreadTeam& team);

}  // namespace updraft::compute::cpu
