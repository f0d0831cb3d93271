// IntegerLinear: y = x W^T for weights in an integer packing and any number of rows, over a ThreadTeam. A chunk of rows
// is quantized once, then threads take panels of output rows. One row and many go through the same panels and the same
// numerics (integer_kernels.h): an output's bits depend on its row of x alone.
#pragma once

#include <vector>

#include "compute/cpu/instruction_set.h"
#include "compute/cpu/integer_packing.h"
#include "compute/cpu/linear.h"
#include "compute/cpu/work_ranges.h"

namespace updraft::compute::cpu {

class IntegerLinear {
 public:
  IntegerLinear(const InstructionSet& set, ThreadTeam& team);

  // Rows that pass over the weights together and panels multiplied together, at most: 1 to kChunkRows, 2 to
  // kGroupPanels. They change no bit.
  void tune(int64_t chunk_rows, int group_panels);
  // Takes the memory that products with up to max_rows rows and these columns need; multiply() never allocates.
  void reserve(int64_t max_rows, int64_t columns);

  void multiply(const IntegerMatrix& w, const LinearInput& in, const LinearOutput& out);

 private:
  struct Chunk;  // one product of at most kChunkRows rows
  struct Group;  // the panels that one member multiplies together
  float* row_scratch(int member) const { return own_[size_t(member)].as<float>(); }
  float* partial(int member, int i) const;
  IntegerActivations activations(const HugeMemory& memory, int64_t offset, int64_t rows, int64_t columns,
                                 int group) const;
  void multiply_chunk(const IntegerMatrix& w, const LinearInput& in, const LinearOutput& out);
  void quantize_row(const Chunk& chunk, int64_t row, const IntegerActivations& to, int member) const;
  void multiply_group(const Chunk& chunk, const Group& group, const IntegerActivations& a, int member) const;
  void end_group(const Chunk& chunk, const Group& group, int member) const;

  const IntegerKernels& kernels_;
  const LinearKernels& floats_;
  const int products_to_ask_ahead_;
  ThreadTeam& team_;
  WorkRanges ranges_;
  int64_t chunk_rows_, group_panels_;
  int64_t max_rows_ = 0, max_columns_ = 0;
  HugeMemory shared_;            // quantized activations of a chunk
  std::vector<HugeMemory> own_;  // per member: two rows of floats, partial sums, quantized activations of few rows
};

}  // namespace updraft::compute::cpu
