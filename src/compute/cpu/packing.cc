#include "compute/cpu/packing.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>

#include "base/check.h"
#include "base/error.h"

namespace updraft::compute::cpu {
namespace {

// Where element (k, row) of a kPairs panel lies: [k / 32][row / 16][k % 32 / 2][row % 16][k % 2].
constexpr int64_t pair_index(int64_t k, int row) {
  return (k / 32 * 2 + row / 16) * 512 + k % 32 / 2 * 32 + row % 16 * 2 + k % 2;
}

constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// A view of less costs more than the copy that it saves.
constexpr int64_t kLeastViewBytes = int64_t(2) << 20;

// What one thread packs with: the source's rows, and a panel of them in the packing's type.
struct Buffers {
  RowWindow window;
  std::vector<std::byte> kept;
};

class Packer {
 public:
  Packer(const MatrixSource& source, CpuMatrix& matrix, const LinearKernels& kernels)
      : source_(source), matrix_(matrix), kernels_(kernels) {}

  void pack(int64_t begin, int64_t end, Buffers& buffers) const {
    for (int64_t panel = begin; panel < end; ++panel) {
      // A panel lies in one range, a range in one part.
      const PanelMatrix::Place place = matrix_.place(panel);
      const auto [part, first] = part_of(source_, place.row);
      const int64_t ahead = std::min(first + (end - panel) * kPanelRows, part->weight->rows());
      pack_rows(*part->weight, first, place.count, ahead, matrix_.weights.as<char>() + panel * matrix_.panel_bytes(),
                buffers);
    }
    buffers.window.close();
  }

 private:
  void pack_rows(const RowSource& rows, int64_t first, int count, int64_t ahead, char* to, Buffers& buffers) const {
    const DType kept_type = dtype_of(matrix_.packing);
    const int64_t row_bytes = matrix_.columns * matrix_.element_bytes();
    const std::byte* from = buffers.window.rows(rows, first, first + count, ahead);
    if (rows.dtype() != kept_type || count < kPanelRows) {
      buffers.kept.resize(size_t(kPanelRows * row_bytes));
      if (rows.dtype() == kept_type) {
        std::memcpy(buffers.kept.data(), from, size_t(count * row_bytes));
      } else {
        kernels_.convert(rows.dtype(), from, kept_type, buffers.kept.data(), count * matrix_.columns);
      }
      std::memset(buffers.kept.data() + count * row_bytes, 0, size_t((kPanelRows - count) * row_bytes));
      from = buffers.kept.data();
    }
    if (matrix_.layout == PanelLayout::kPairs) {
      kernels_.pack_pairs(reinterpret_cast<const uint16_t*>(from), matrix_.columns, reinterpret_cast<uint16_t*>(to));
    } else if (matrix_.element_bytes() == 2) {
      kernels_.pack_rows16(reinterpret_cast<const uint16_t*>(from), matrix_.columns, reinterpret_cast<uint16_t*>(to));
    } else {
      kernels_.pack_rows32(reinterpret_cast<const uint32_t*>(from), matrix_.columns, reinterpret_cast<uint32_t*>(to));
    }
  }

  const MatrixSource& source_;
  CpuMatrix& matrix_;
  const LinearKernels& kernels_;
};

}  // namespace

std::pair<const MatrixSource::Part*, int64_t> part_of(const MatrixSource& source, int64_t row) {
  for (const MatrixSource::Part& part : source.parts) {
    if (row < part.weight->rows()) return {&part, row};
    row -= part.weight->rows();
  }
  CHECK(false) << "row beyond the matrix";
  return {};
}

// A matrix of one part may be gate|up already stacked: cut it in the middle, so that both halves start a panel.
void PanelMatrix::lay_out(const MatrixSource& source) {
  rows = source.rows();
  columns = source.columns();
  int64_t row = 0;
  const auto append = [&](int64_t count) {
    ranges.push_back({row, count, panels});
    row += count;
    panels += round_up(count, kPanelRows) / kPanelRows;
  };
  for (const MatrixSource::Part& part : source.parts) {
    CHECK(part.weight->columns() == columns) << "parts of " << part.weight->columns() << " and " << columns;
    const int64_t count = part.weight->rows();
    if (source.parts.size() == 1 && count > 1 && count % 2 == 0) {
      append(count / 2);
      append(count / 2);
    } else {
      append(count);
    }
  }
}

void PanelMatrix::read_bias(const MatrixSource& source, const LinearKernels& kernels) {
  const auto has_bias = [](const MatrixSource::Part& part) { return part.bias != nullptr; };
  if (std::none_of(source.parts.begin(), source.parts.end(), has_bias)) return;
  std::vector<float> all(size_t(rows), 0.0f);
  int64_t first = 0;
  for (const MatrixSource::Part& part : source.parts) {
    if (part.bias) {
      const RowSource& stored = *part.bias;
      CHECK(stored.rows() == 1 && stored.columns() == part.weight->rows())
          << "a bias of " << stored.columns() << " for " << part.weight->rows() << " rows";
      std::vector<uint8_t> raw(static_cast<size_t>(stored.row_bytes()));
      stored.read_rows(0, 1, raw.data());
      kernels.convert(stored.dtype(), raw.data(), DType::kF32, all.data() + first, stored.columns());
    }
    first += part.weight->rows();
  }
  bias_memory = HugeMemory(panels * kPanelRows * int64_t(sizeof(float)), "a bias");
  float* padded = bias_memory.as<float>();
  for (const Range& range : ranges) std::copy_n(all.begin() + range.row, range.rows, padded + range.panel * kPanelRows);
  bias = padded;
}

PanelMatrix::Place PanelMatrix::place(int64_t panel) const {
  size_t i = ranges.size() - 1;
  while (panel < ranges[i].panel) --i;
  const int64_t begin = (panel - ranges[i].panel) * kPanelRows;
  return {ranges[i].row + begin, int(std::min<int64_t>(kPanelRows, ranges[i].rows - begin))};
}

int64_t PanelMatrix::panel_of(int64_t row, int* row_in_panel) const {
  size_t i = ranges.size() - 1;
  while (row < ranges[i].row) --i;
  const int64_t in_range = row - ranges[i].row;
  *row_in_panel = int(in_range % kPanelRows);
  return ranges[i].panel + in_range / kPanelRows;
}

void CpuMatrix::read_row(int64_t row, float* out) const {
  int lane = 0;
  const char* panel = panel_at(panel_of(row, &lane));
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(panel);
  if (layout == PanelLayout::kPairs) {
    for (int64_t k = 0; k < columns; ++k) out[k] = to_float(bfloat16_t{halves[pair_index(k, lane)]});
  } else if (packing == Packing::kF32) {
    const float* floats = reinterpret_cast<const float*>(panel);
    for (int64_t k = 0; k < columns; ++k) out[k] = floats[k * kPanelRows + lane];
  } else if (packing == Packing::kF16) {
    for (int64_t k = 0; k < columns; ++k) out[k] = to_float(half_t{halves[k * kPanelRows + lane]});
  } else {
    for (int64_t k = 0; k < columns; ++k) out[k] = to_float(bfloat16_t{halves[k * kPanelRows + lane]});
  }
}

const std::byte* RowWindow::rows(const RowSource& source, int64_t begin, int64_t end, int64_t ahead) {
  if (view_ == nullptr || source_ != &source || begin < begin_ || end > end_) {
    view_.reset();  // before the next, so that there is one at a time
    if ((ahead - begin) * source.row_bytes() >= kLeastViewBytes) view_ = source.view_rows(begin, ahead);
    source_ = &source, begin_ = begin, end_ = ahead;
  }
  if (view_) return view_.get() + (begin - begin_) * source.row_bytes();
  read_.resize(size_t((end - begin) * source.row_bytes()));
  source.read_rows(begin, end, read_.data());
  return read_.data();
}

void pack_panels(ThreadTeam& team, int64_t panels, int64_t panel_bytes,
                 FunctionRef<void(int64_t begin, int64_t end, int member)> pack) {
  // Two threads that touch one fresh page of 2 MiB at the same time both clear one, and one of the two is thrown away:
  // a thread takes panels that fill several pages, as long as there is enough for every thread.
  constexpr int64_t kBytesAtOnce = int64_t(4) << 20;
  const int64_t fill = (kBytesAtOnce + panel_bytes - 1) / panel_bytes;
  const int64_t at_once = std::clamp<int64_t>(panels / (team.size() * 4), 1, fill);
  std::exception_ptr error;  // a team's function must not throw: the first error is kept and thrown here
  std::mutex error_mutex;
  std::atomic<bool> failed{false};
  team.parallel_for(panels, at_once, [&](int64_t begin, int64_t end, int member) {
    try {
      if (!failed) pack(begin, end, member);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!failed.exchange(true)) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

std::shared_ptr<CpuMatrix> pack_matrix(const MatrixSource& source, Packing packing, PanelLayout layout,
                                       const LinearKernels& kernels, HugeArena& arena, ThreadTeam& team) {
  auto matrix = std::make_shared<CpuMatrix>();
  matrix->lay_out(source);
  matrix->packing = packing;
  matrix->layout = layout;
  matrix->padded_columns = layout == PanelLayout::kPairs ? round_up(matrix->columns, 32) : matrix->columns;
  matrix->weights = arena.take(matrix->panels * matrix->panel_bytes(), "the weights");
  matrix->read_bias(source, kernels);
  matrix->bytes = matrix->rows * matrix->columns * matrix->element_bytes() + (matrix->bias ? matrix->rows * 4 : 0);

  const Packer packer(source, *matrix, kernels);
  std::vector<Buffers> buffers(size_t(team.size()));
  pack_panels(team, matrix->panels, matrix->panel_bytes(),
              [&](int64_t begin, int64_t end, int member) { packer.pack(begin, end, buffers[size_t(member)]); });
  return matrix;
}

}  // namespace updraft::compute::cpu
