#include "compute/cpu/integer_packing.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace updraft::compute::cpu {
namespace {

// What one thread packs with: the rows of a panel as the source gives them, and widened to whole steps.
struct Buffers {
  RowWindow window;
  std::vector<uint8_t> read, padded;
  std::vector<uint16_t> scales, offsets;
};

// [rows, groups] of 16-bit values to [groups] times 32 of them.
void place_values(const std::vector<uint16_t>& values, int count, int64_t groups, int64_t stride, uint8_t* to) {
  for (int64_t g = 0; g < groups; ++g) {
    uint16_t column[kPanelRows] = {};
    for (int row = 0; row < count; ++row) column[row] = values[size_t(row * groups + g)];
    std::memcpy(to + g * stride, column, sizeof column);
  }
}

class Packer {
 public:
  Packer(const MatrixSource& source, IntegerMatrix& matrix, const Kernels& kernels)
      : source_(source), matrix_(matrix), l_(matrix.layout), strides_(matrix.strides), kernels_(kernels) {}

  void pack(int64_t begin, int64_t end, Buffers& b) const {
    for (int64_t panel = begin; panel < end; ++panel) pack_panel(panel, end, b);
    b.window.close();
  }

 private:
  // `end`: up to which panel this thread goes on.
  void pack_panel(int64_t panel, int64_t end, Buffers& b) const {
    const PanelMatrix::Place place = matrix_.place(panel);
    const int64_t groups = l_.groups();
    read(place, (end - panel) * kPanelRows, b);
    uint8_t* headers = matrix_.weights.as<uint8_t>() + l_.headers_at(panel);
    uint8_t* weights = matrix_.weights.as<uint8_t>() + l_.weights_at(panel);
    place_values(b.scales, place.count, groups, strides_.header, headers);
    if (l_.format.offset != Offset::kNone)
      place_values(b.offsets, place.count, groups, strides_.header, headers + 2 * kPanelRows);
    for (int64_t g = 0; g < groups; ++g) {
      kernels_.linear.pack_integers(b.padded.data() + g * l_.format.group, l_.padded_columns(), l_.padded_columns(g),
                                    l_.format, strides_, weights + strides_.group_at(g));
    }
  }

  // The panel's rows to b.padded [32, padded columns], zeros where there are none; `ahead`: rows that this thread packs
  // from there on.
  void read(const PanelMatrix::Place& place, int64_t ahead, Buffers& b) const {
    const auto [part, first] = part_of(source_, place.row);
    const auto& rows = dynamic_cast<const QuantizedRowSource&>(*part->weight);
    const int64_t columns = matrix_.columns, padded = l_.padded_columns();
    b.padded.resize(size_t(kPanelRows * padded + 64));  // the kernel may read beyond the last row
    b.scales.resize(size_t(kPanelRows * l_.groups()));
    b.offsets.resize(b.scales.size());
    if (columns != padded) b.read.resize(size_t(kPanelRows * columns));
    uint8_t* to = columns == padded ? b.padded.data() : b.read.data();
    const QuantizedRows out{to, b.scales.data(), b.offsets.data()};
    if (const RowSource* unrounded = rows.unrounded()) {
      const int64_t end = std::min(first + ahead, rows.rows());
      round(rows, b.window.rows(*unrounded, first, first + place.count, end), first, place.count, out);
    } else {
      rows.read_quantized(first, first + place.count, out);
    }
    for (int row = 0; row < kPanelRows && columns != padded; ++row) {
      std::copy_n(b.read.data() + row * columns, columns, b.padded.data() + row * padded);
      std::fill_n(b.padded.data() + row * padded + columns, padded - columns, uint8_t(0));
    }
    std::fill(b.padded.begin() + place.count * padded, b.padded.end(), uint8_t(0));
  }

  // `from`: rows [first, first + count) of what rows.unrounded() is.
  void round(const QuantizedRowSource& rows, const std::byte* from, int64_t first, int count,
             const QuantizedRows& out) const {
    const int64_t columns = matrix_.columns, groups = l_.groups();
    const RowSource& unrounded = *rows.unrounded();
    for (int row = 0; row < count; ++row) {
      kernels_.quantize_weights(unrounded.dtype(), from + row * unrounded.row_bytes(), columns, l_.format,
                                out.integers + row * columns, out.scales + row * groups, out.offsets + row * groups);
      check_finite(rows, first + row, out.scales + row * groups, out.offsets + row * groups);
    }
  }

  const MatrixSource& source_;
  IntegerMatrix& matrix_;
  const IntegerLayout& l_;
  const IntegerStrides& strides_;
  const Kernels& kernels_;
};

// Threads that pack in stripes write to the same pages of 2 MiB at the same time: each page is cleared by one before.
void clear_pages(const HugeMemory& memory, ThreadTeam& team) {
  constexpr int64_t kPage = int64_t(2) << 20;
  team.parallel_for((memory.bytes() + kPage - 1) / kPage, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t page = begin; page < end; ++page) *static_cast<volatile char*>(memory.as<char>() + page * kPage) = 0;
  });
}

}  // namespace

void IntegerMatrix::read_row(int64_t row, float* out) const {
  int lane = 0;
  const int64_t panel = panel_of(row, &lane);
  uint8_t integers[kLargestGroup];
  float values[kLargestGroup];
  for (int64_t g = 0; g < layout.groups(); ++g) {
    const uint8_t* group = weights_at(panel) + strides.group_at(g);
    const int64_t begin = g * format.group, count = std::min<int64_t>(format.group, columns - begin);
    for (int64_t k = 0; k < count; ++k) {
      const IntegerLayout::Place place = layout.place(k, lane);
      const uint8_t byte = group[strides.pair_at(place.pair) + place.byte];
      integers[k] = format.bits == 8 ? byte : uint8_t(place.high ? byte >> 4 : byte & 15);
    }
    const uint16_t* header = reinterpret_cast<const uint16_t*>(headers_at(panel) + g * strides.header);
    dequantize_row(integers, header + lane, header + kPanelRows + lane, count, format, values);
    for (int64_t k = 0; k < count; ++k)
      out[input_order.empty() ? begin + k : int64_t(input_order[size_t(begin + k)])] = values[k];
  }
}

std::shared_ptr<IntegerMatrix> pack_integers(const MatrixSource& source, int64_t striped_bytes, const Kernels& kernels,
                                             HugeArena& arena, ThreadTeam& team) {
  auto matrix = std::make_shared<IntegerMatrix>();
  matrix->lay_out(source);
  matrix->format = source.format();
  const int group = matrix->format.group;
  CHECK(group == 32 || group == 64 || group == kLargestGroup) << "groups of " << matrix->format.group;
  matrix->packing = packing_of(matrix->format);
  matrix->layout = {matrix->format, matrix->columns, matrix->panels, false};
  matrix->layout.striped = matrix->layout.matrix_bytes() >= striped_bytes;
  matrix->strides = matrix->layout.strides();
  const std::span<const int32_t> order = source.input_order();
  CHECK(order.empty() || int64_t(order.size()) == matrix->columns) << order.size() << " of " << matrix->columns;
  matrix->input_order.assign(order.begin(), order.end());
  matrix->weights = arena.take(matrix->layout.matrix_bytes(), "the weights");
  if (matrix->layout.striped) clear_pages(matrix->weights, team);
  matrix->read_bias(source, kernels.linear);
  matrix->bytes = matrix->rows * matrix->layout.panel_bytes() / kPanelRows + (matrix->bias ? matrix->rows * 4 : 0);

  const Packer packer(source, *matrix, kernels);
  std::vector<Buffers> buffers(size_t(team.size()));
  pack_panels(team, matrix->panels, matrix->layout.panel_bytes(),
              [&](int64_t begin, int64_t end, int member) { packer.pack(begin, end, buffers[size_t(member)]); });
  return matrix;
}

}  // namespace updraft::compute::cpu
