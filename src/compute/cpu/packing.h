// Packing: a weight matrix as the CPU machine keeps it: panels of 32 output rows, in each panel the rows side by side
// and k running on, so that a register holds rows and one stream of memory feeds a panel's product. Packed once, in
// parallel, without a second copy.
#pragma once

#include <vector>

#include "base/thread_team.h"
#include "compute/cpu/huge_memory.h"
#include "compute/cpu/kernels.h"
#include "compute/weight.h"

namespace updraft::compute::cpu {

// kRows: element [panel][k][row]. kPairs: bf16 as tile instructions multiply it, a tile of 16 rows and 32 columns in
// one KiB: [panel][k / 32][row / 16][pair of k][row % 16][k % 2], columns padded to 32.
enum class PanelLayout : uint8_t { kRows, kPairs };

struct CpuMatrix final : PackedMatrix {
  // Output rows [row, row + rows) are panels [panel, ...): every range starts a panel, the last panel is padded with
  // zeros.
  struct Range {
    int64_t row, rows, panel;
  };
  PanelLayout layout = PanelLayout::kRows;
  std::vector<Range> ranges;
  int64_t panels = 0;
  int64_t padded_columns = 0;  // columns, or rounded up to 32 (kPairs)
  HugeMemory weights;
  HugeMemory bias_memory;
  const float* bias = nullptr;  // [panels, 32], null: none

  int64_t element_bytes() const { return packing == Packing::kF32 ? 4 : 2; }
  int64_t panel_bytes() const { return padded_columns * kPanelRows * element_bytes(); }
  const char* panel_at(int64_t panel) const { return weights.as<const char>() + panel * panel_bytes(); }
  const float* bias_at(int64_t panel) const { return bias == nullptr ? nullptr : bias + panel * kPanelRows; }

  // Where a panel's outputs go.
  struct Place {
    int64_t row;
    int count;
  };
  Place place(int64_t panel) const;
  int64_t panel_of(int64_t row, int* row_in_panel) const;

  // One row of W as F32 [columns]: an embedding.
  void read_row(int64_t row, float* out) const;
};

// A vector of floats for norms, as a Weight.
struct CpuVector final : PackedMatrix {
  std::vector<float> values;
};

// Throws Error when memory is short or the source fails.
std::shared_ptr<CpuMatrix> pack_matrix(const MatrixSource& source, Packing packing, PanelLayout layout,
                                       const LinearKernels& kernels, ThreadTeam& team);

}  // namespace updraft::compute::cpu
