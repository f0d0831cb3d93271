// IntegerLayout: where the integers, scales and offsets of a panel of an integer packing lie. A panel is one block a
// group; a block is
//   scales   [32] 16-bit
//   offsets  [32] 16-bit, if the format has any
//   weights  [step of 64 columns (32 where the group is 32)][quad of columns][half of 16 rows][16 rows][4 columns]
// so that 64 bytes are one quad of 16 rows: one operand of a four-way byte product, one row of an AMX tile; and both
// halves lie in the order in which few tokens read them, which some processors can then fetch by themselves. Weights
// are the unsigned integers of the format. With 4 bits, line i of a half holds quad i in the low and quad i + quads / 2
// in the high nibbles. A row's last group has as many steps as it needs, the rest of the last step is zeros.
#pragma once

#include "base/quantized_rows.h"

namespace updraft::compute::cpu {

// The groups that kernels know are 32, 64 and 128.
constexpr int kLargestGroup = 128;

struct IntegerLayout {
  QuantizedFormat format;
  int64_t columns = 0;

  static constexpr int64_t step_columns(int group) { return group < 64 ? group : 64; }

  int64_t step() const { return step_columns(format.group); }
  int64_t groups() const { return format.groups(columns); }
  // Columns of group g, padded to whole steps.
  int64_t padded_columns(int64_t g) const {
    const int64_t left = columns - g * format.group;
    return left >= format.group ? format.group : (left + step() - 1) / step() * step();
  }
  int64_t header_bytes() const { return format.offset == Offset::kNone ? 64 : 128; }
  int64_t weight_bytes(int64_t padded) const { return padded * 32 * format.bits / 8; }
  int64_t block_bytes() const { return header_bytes() + weight_bytes(format.group); }  // of every group but the last
  int64_t panel_bytes() const {
    const int64_t last = groups() - 1;
    return last * block_bytes() + header_bytes() + weight_bytes(padded_columns(last));
  }

  // Where column k of row `row` of a group lies: a byte among the weights, and which half of it.
  struct Place {
    int64_t byte;
    bool high;
  };
  Place place(int64_t k, int row) const {
    const int64_t quads = step() / 4, lines = format.bits == 4 ? quads / 2 : quads;
    const int64_t quad = k % step() / 4, line = quad % lines;
    const int64_t byte = ((k / step() * lines + line) * 2 + row / 16) * 64 + row % 16 * 4 + k % 4;
    return {byte, quad >= lines};
  }
};

}  // namespace updraft::compute::cpu
