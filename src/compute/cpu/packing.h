// Packing: a weight matrix as the CPU machine keeps it: panels of 32 output rows, in each panel the rows side by side
// and k running on, so that a register holds rows and one stream of memory feeds a panel's product. Packed once, in
// parallel, without a second copy.
#pragma once

#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "base/thread_team.h"
#include "compute/cpu/huge_memory.h"
#include "compute/cpu/kernels.h"
#include "compute/weight.h"

namespace updraft::compute::cpu {

// kRows: element [panel][k][row]. kPairs: bf16 as tile instructions multiply it, a tile of 16 rows and 32 columns in
// one KiB: [panel][k / 32][row / 16][pair of k][row % 16][k % 2], columns padded to 32.
enum class PanelLayout : uint8_t { kRows, kPairs };

// What all packings have in common: output rows cut in panels, and their bias.
struct PanelMatrix : PackedMatrix {
  // Output rows [row, row + rows) are panels [panel, ...): every range starts a panel, the last panel is padded with
  // zeros.
  struct Range {
    int64_t row, rows, panel;
  };
  std::vector<Range> ranges;
  int64_t panels = 0;
  HugeMemory weights;  // panel after panel, as the packing lays one out
  HugeMemory bias_memory;
  const float* bias = nullptr;  // [panels, 32], null: none

  const float* bias_at(int64_t panel) const { return bias == nullptr ? nullptr : bias + panel * kPanelRows; }

  // Where a panel's outputs go.
  struct Place {
    int64_t row;
    int count;
  };
  Place place(int64_t panel) const;
  int64_t panel_of(int64_t row, int* row_in_panel) const;

  // One row of W as F32 [columns]: an embedding.
  virtual void read_row(int64_t row, float* out) const = 0;

  // For those who pack: rows, columns and panels from the source's shape, and its bias.
  void lay_out(const MatrixSource& source);
  void read_bias(const MatrixSource& source, const LinearKernels& kernels);
};

struct CpuMatrix final : PanelMatrix {
  PanelLayout layout = PanelLayout::kRows;
  int64_t padded_columns = 0;  // columns, or rounded up to 32 (kPairs)

  int64_t element_bytes() const { return packing == Packing::kF32 ? 4 : 2; }
  int64_t panel_bytes() const { return padded_columns * kPanelRows * element_bytes(); }
  const char* panel_at(int64_t panel) const { return weights.as<const char>() + panel * panel_bytes(); }

  void read_row(int64_t row, float* out) const override;
};

// A vector of floats for norms, as a Weight.
struct CpuVector final : PackedMatrix {
  std::vector<float> values;
};

// The part of a matrix that holds output row `row`, and the row's number there.
std::pair<const MatrixSource::Part*, int64_t> part_of(const MatrixSource& source, int64_t row);

// Rows of a source as one thread packs them, panel after panel: where they lie in memory, else read into a buffer.
class RowWindow {
 public:
  // Rows [begin, end) in the source's dtype, until the next call. The thread will go on to row `ahead`, `end` or later:
  // what a view costs is paid once for all of them.
  const std::byte* rows(const RowSource& source, int64_t begin, int64_t end, int64_t ahead);
  void close() { view_.reset(); }

 private:
  std::shared_ptr<const std::byte> view_;  // of rows [begin_, end_) of *source_
  const RowSource* source_ = nullptr;
  int64_t begin_ = 0, end_ = 0;
  std::vector<std::byte> read_;
};

// Calls pack(begin, end, member) for pieces of all the panels, each once; throws what the first of them throws. A panel
// has panel_bytes, next to each other in fresh memory.
void pack_panels(ThreadTeam& team, int64_t panels, int64_t panel_bytes,
                 FunctionRef<void(int64_t begin, int64_t end, int member)> pack);

// The weights lie in the arena. Throws Error when memory is short or the source fails.
std::shared_ptr<CpuMatrix> pack_matrix(const MatrixSource& source, Packing packing, PanelLayout layout,
                                       const LinearKernels& kernels, HugeArena& arena, ThreadTeam& team);

}  // namespace updraft::compute::cpu
