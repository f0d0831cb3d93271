// Linear: y = x W^T for any number of rows, over a ThreadTeam. Threads take panels of output rows, never a part of a
// sum; one to tile_tokens rows stream the panels from memory as they are, more rows convert each panel's block once and
// reuse it from L1; tile instructions serve every number of rows of a matrix packed for them. An output's bits depend
// on its row of x alone.
#pragma once

#include <atomic>
#include <vector>

#include "compute/cpu/instruction_set.h"
#include "compute/cpu/packing.h"
#include "compute/cpu/work_ranges.h"

namespace updraft::compute::cpu {

// Rows of x, normed on the way in if there is a weight.
struct LinearInput {
  const float* x = nullptr;  // [.., stride]
  int64_t stride = 0;
  const int32_t* indices = nullptr;  // row i of the product is row indices[i] of x; null: row i
  int64_t rows = 0;
  const float* norm_weight = nullptr;
  float norm_epsilon = 0;

  const float* row(int64_t i) const { return x + (indices == nullptr ? i : int64_t(indices[i])) * stride; }
  LinearInput part(int64_t first, int64_t count) const {
    LinearInput some = *this;
    some.rows = count;
    if (indices != nullptr) {
      some.indices += first;
    } else {
      some.x += first * stride;
    }
    return some;
  }
};

// What becomes of y + bias.   kStore: out = y;   kAdd: out += y;   kGated: out = silu(first half of y) * second half
enum class LinearEnd : uint8_t { kStore, kAdd, kGated };

struct LinearOutput {
  LinearEnd end = LinearEnd::kStore;
  float* out = nullptr;
  int64_t stride = 0;

  LinearOutput from(int64_t row) const { return {end, out + row * stride, stride}; }
};

class Linear {
 public:
  // terms: bf16 terms of an activation where a matrix is packed for tiles.
  Linear(const InstructionSet& set, int terms, ThreadTeam& team);

  // Rows that pass over the weights together and panels multiplied together, at most: 1 to kChunkRows, 2 to
  // kGroupPanels. They change no bit.
  void tune(int64_t chunk_rows, int group_panels);
  // Takes the memory that products with up to max_rows rows and these columns need; multiply() never allocates.
  void reserve(int64_t max_rows, int64_t columns);

  void multiply(const CpuMatrix& w, const LinearInput& in, const LinearOutput& out);

 private:
  struct Shape;    // of one product of at most kChunkRows rows
  struct Scratch;  // one member's memory
  struct Group;
  Scratch scratch_of(int member) const;
  int64_t single_floats(int64_t padded_columns) const;
  void multiply_chunk(const CpuMatrix& w, const LinearInput& in, const LinearOutput& out);
  void prepare(const LinearInput& in, const Shape& shape, int64_t tile, Scratch& scratch) const;
  void pack_activations(const float* const* rows, const Shape& shape, int64_t tile, float* activations) const;
  void split_activations(const float* const* rows, const Shape& shape, int64_t tile, bfloat16_t* activations) const;
  void multiply_group(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const;
  void stream_panels(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const;
  void multiply_panels(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const;
  void multiply_tiles(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const;
  void end_group(const CpuMatrix& w, const Group& group, const Shape& shape, const LinearOutput& out,
                 const Scratch& scratch) const;

  const LinearKernels& kernels_;
  const TileKernels* tiles_;
  const int products_to_ask_ahead_;
  const int terms_;
  ThreadTeam& team_;
  WorkRanges ranges_;
  int64_t chunk_rows_, group_panels_;
  int64_t max_rows_ = 0, max_columns_ = 0;
  int64_t partial_stride_ = 0;   // floats of one panel's partial sums
  HugeMemory shared_;            // packed activations of a chunk
  std::vector<HugeMemory> own_;  // per member
};

}  // namespace updraft::compute::cpu
