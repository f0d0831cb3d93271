// IntegerLayout: where the integers, scales and offsets of a matrix in an integer packing lie. Its panels are cut in
// groups of columns. A group has
//   a header   scales [32] 16-bit, then offsets [32] 16-bit if the format has any
//   weights    pairs of lines of 64 bytes: of rows 0..15, then of rows 16..31, [16 rows][4 columns]
// so that a line is one quad of columns of 16 rows: one operand of a four-way byte product, one row of an AMX tile.
// Weights are the unsigned integers of the format. A step of 64 columns (32 where the group is 32) is one pair a quad;
// with 4 bits, pair i of a step holds quad i in the low and quad i + quads / 2 in the high nibbles. A row's last group
// has as many steps as it needs, the rest of the last step is zeros.
//
// Sixteen pairs are a rank, and lie in one of two ways:
//   in order     one after the other, group after group, each behind its header, panel after panel: as they are read
//   in stripes   pair i of every rank of the matrix in stripe i, rank after rank, panel after panel; headers behind the
//                last stripe. Who reads panels in order reads sixteen places at once, each from front to back: some
//                processors then fetch ahead by themselves what they cannot from one place (prefetch_distance.h).
#pragma once

#include "base/quantized_rows.h"

namespace updraft::compute::cpu {

// The groups that kernels know are 32, 64 and 128.
constexpr int kLargestGroup = 128;

// Distances in bytes between the parts of a panel.
struct IntegerStrides {
  static constexpr int64_t kRank = 16, kPairBytes = 128;

  int64_t header = 0;          // from one group's header to the next
  int64_t pair = 0, rank = 0;  // from one pair of a rank to the next, from one rank to the next
  int64_t group = 0, run = 0;  // from one group to the next of the same run, from one run to the next
  int groups_of_a_run = 1;     // 1, 2 or 4: small groups share a rank

  // From a panel's first pair to that of group g, and from a group's first pair to pair i.
  int64_t group_at(int64_t g) const {
    return int64_t(uint64_t(g) / unsigned(groups_of_a_run)) * run + (g & (groups_of_a_run - 1)) * group;
  }
  int64_t pair_at(int64_t i) const { return int64_t(uint64_t(i) / kRank) * rank + (i & (kRank - 1)) * pair; }
};

struct IntegerLayout {
  QuantizedFormat format;
  int64_t columns = 0, panels = 0;
  bool striped = false;

  static constexpr int64_t step_columns(int group) { return group < 64 ? group : 64; }

  int64_t step() const { return step_columns(format.group); }
  int64_t groups() const { return format.groups(columns); }
  // Columns of group g, padded to whole steps.
  int64_t padded_columns(int64_t g) const {
    const int64_t left = columns - g * format.group;
    return left >= format.group ? format.group : (left + step() - 1) / step() * step();
  }
  int64_t padded_columns() const { return (groups() - 1) * format.group + padded_columns(groups() - 1); }

  int64_t header_bytes() const { return format.offset == Offset::kNone ? 64 : 128; }
  int64_t pairs(int64_t padded) const { return padded * format.bits / 32; }
  int64_t group_bytes() const { return header_bytes() + pairs(format.group) * IntegerStrides::kPairBytes; }
  // What a panel's own parts take, wherever they lie.
  int64_t panel_bytes() const {
    return groups() * header_bytes() + pairs(padded_columns()) * IntegerStrides::kPairBytes;
  }

  IntegerStrides strides() const {
    constexpr int64_t kRank = IntegerStrides::kRank, kPair = IntegerStrides::kPairBytes;
    const int64_t group_pairs = pairs(format.group);
    IntegerStrides s;
    s.groups_of_a_run = group_pairs >= kRank ? 1 : int(kRank / group_pairs);
    if (striped) {
      s.header = header_bytes();
      s.pair = stripe_bytes(), s.rank = kPair;
      s.group = group_pairs * s.pair;  // within a rank
      s.run = (s.groups_of_a_run * group_pairs / kRank) * s.rank;
    } else {
      s.header = group_bytes();
      s.pair = kPair, s.rank = kRank * kPair;
      s.group = group_bytes(), s.run = s.groups_of_a_run * s.group;
    }
    return s;
  }

  // From the matrix's first byte to a panel's first header and first pair.
  int64_t headers_at(int64_t panel) const {
    return striped ? IntegerStrides::kRank * stripe_bytes() + panel * groups() * header_bytes() : panel * panel_bytes();
  }
  int64_t weights_at(int64_t panel) const {
    return striped ? panel * ranks() * IntegerStrides::kPairBytes : headers_at(panel) + header_bytes();
  }
  int64_t matrix_bytes() const { return headers_at(panels); }

  // Where column k of row `row` of a group lies: a byte of a pair, and which half of it.
  struct Place {
    int64_t pair;
    int byte;
    bool high;
  };
  Place place(int64_t k, int row) const {
    const int64_t quads = step() / 4, pairs = format.bits == 4 ? quads / 2 : quads;
    const int64_t quad = k % step() / 4;
    return {k / step() * pairs + quad % pairs, row / 16 * 64 + row % 16 * 4 + int(k % 4), quad >= pairs};
  }

 private:
  int64_t ranks() const { return (pairs(padded_columns()) + IntegerStrides::kRank - 1) / IntegerStrides::kRank; }
  // An odd number of pairs: stripes a power of two apart would meet in the same sets of a cache, and large ones that
  // are nearly so in the same banks of the memory.
  int64_t stripe_bytes() const {
    constexpr int64_t kLarge = 1024, kPairsApart = 18;
    const int64_t pairs = panels * ranks();
    return ((pairs + (pairs >= kLarge ? kPairsApart : 0)) | 1) * IntegerStrides::kPairBytes;
  }
};

}  // namespace updraft::compute::cpu
