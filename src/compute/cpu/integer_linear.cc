#include "compute/cpu/integer_linear.h"

#include <algorithm>

#include "base/check.h"
#include "compute/cpu/prefetch_distance.h"

namespace updraft::compute::cpu {
namespace {

// Rows per pass over the weights: a block of their activations fits L2 beside the panels' partial sums.
constexpr int64_t kChunkRows = 256;
// Columns of a panel that every tile of rows takes in turn: 32 KiB of 8-bit weights, they stay in L1.
constexpr int64_t kBlockColumns = 1024;
// Panels whose partial sums wait in L2 while one block of activations serves them all.
constexpr int kGroupPanels = 8;
// Every member quantizes so few rows and values for itself rather than wait for the others.
constexpr int64_t kOwnRows = 16, kOwnValues = 16384;
constexpr int64_t kValuesAtOnce = 4096;  // quantized by one member between two looks at what is left
constexpr int64_t kSpareRows = 32;       // kernels may read (not use) so many rows beyond the last

constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Bytes of `rows` quantized rows, whatever the group: integers, a scale and a sum for each 32 columns.
constexpr int64_t quantized_bytes(int64_t rows, int64_t columns) {
  const int64_t padded = round_up(columns, 128);
  return round_up((rows + kSpareRows) * (padded + padded / 32 * 8), 64);
}

}  // namespace

struct IntegerLinear::Chunk {
  const IntegerMatrix& w;
  const LinearInput& in;
  const LinearOutput& out;
  int64_t tiles = 0, block_groups = 0;
  bool single = false;  // panels are read once, from front to back

  int64_t first(int64_t tile) const { return tile * (in.rows / tiles) + std::min(tile, in.rows % tiles); }
  bool gated() const { return out.end == LinearEnd::kGated; }
};

struct IntegerLinear::Group {
  int64_t panels[kGroupPanels];
  int count = 0;
};

IntegerLinear::IntegerLinear(const InstructionSet& set, ThreadTeam& team)
    : kernels_(*set.integers),
      floats_(set.kernels->linear),
      products_to_ask_ahead_(set.products_to_ask_ahead),
      team_(team),
      ranges_(team.size()),
      chunk_rows_(kChunkRows),
      group_panels_(kGroupPanels) {
  own_.resize(size_t(team.size()));
}

void IntegerLinear::tune(int64_t chunk_rows, int group_panels) {
  CHECK(chunk_rows >= 1 && chunk_rows <= kChunkRows && group_panels >= 2 && group_panels <= kGroupPanels)
      << chunk_rows << " rows, " << group_panels << " panels";
  chunk_rows_ = chunk_rows;
  group_panels_ = group_panels;
}

void IntegerLinear::reserve(int64_t max_rows, int64_t columns) {
  max_rows = std::min(max_rows, kChunkRows);
  if (max_rows <= max_rows_ && columns <= max_columns_) return;
  max_rows_ = std::max(max_rows, max_rows_);
  max_columns_ = std::max(columns, max_columns_);
  shared_ = HugeMemory();
  for (HugeMemory& memory : own_) memory = HugeMemory();
  shared_ = HugeMemory(quantized_bytes(max_rows_, max_columns_), "the activations");
  const int64_t floats = 2 * round_up(max_columns_, 16) + kGroupPanels * (max_rows_ + kSpareRows) * kPanelRows;
  for (HugeMemory& memory : own_)
    memory = HugeMemory(floats * int64_t(sizeof(float)) + quantized_bytes(kOwnRows, max_columns_), "the activations");
}

float* IntegerLinear::partial(int member, int i) const {
  return row_scratch(member) + 2 * round_up(max_columns_, 16) + i * (max_rows_ + kSpareRows) * kPanelRows;
}

IntegerActivations IntegerLinear::activations(const HugeMemory& memory, int64_t offset, int64_t rows, int64_t columns,
                                              int group) const {
  IntegerActivations a;
  a.group = group;
  a.token_stride = rows;
  const int64_t groups = (columns + group - 1) / group;
  a.integers = memory.as<int8_t>() + offset;
  a.scales = reinterpret_cast<float*>(a.integers + groups * a.token_stride * group);
  a.sums = reinterpret_cast<int32_t*>(a.scales + groups * a.token_stride);
  return a;
}

void IntegerLinear::multiply(const IntegerMatrix& w, const LinearInput& in, const LinearOutput& out) {
  CHECK(std::min(in.rows, kChunkRows) <= max_rows_ && w.columns <= max_columns_)
      << in.rows << " rows of " << w.columns << "; reserved " << max_rows_ << " of " << max_columns_;
  for (int64_t row = 0; row < in.rows; row += chunk_rows_)
    multiply_chunk(w, in.part(row, std::min(chunk_rows_, in.rows - row)), out.from(row));
}

void IntegerLinear::multiply_chunk(const IntegerMatrix& w, const LinearInput& in, const LinearOutput& out) {
  Chunk chunk{w, in, out};
  chunk.single = in.rows <= kernels_.stream_tokens;
  chunk.tiles = chunk.single ? 1 : (in.rows + kernels_.tile_tokens - 1) / kernels_.tile_tokens;
  chunk.block_groups = chunk.single ? w.layout.groups() : kBlockColumns / w.format.group;
  const bool own = in.rows <= std::clamp<int64_t>(kOwnValues / w.columns, 1, kOwnRows);
  IntegerActivations shared = activations(shared_, 0, in.rows, w.columns, w.format.group);
  if (!own) {
    // Neighbouring rows share the lines of their scales and sums: each member takes its own in one piece.
    ranges_.reset(in.rows, std::max<int64_t>(1, kValuesAtOnce / w.columns));
    team_.share([&](int member) {
      while (const WorkRanges::Piece piece = ranges_.claim(member))
        for (int64_t row = piece.begin; row < piece.end; ++row) quantize_row(chunk, row, shared.at(0, row), member);
    });
  }

  const int64_t items = chunk.gated() ? w.panels / 2 : w.panels;
  const int64_t most = chunk.single ? 1 : chunk.gated() ? group_panels_ / 2 : group_panels_;
  ranges_.reset(items, most);
  team_.share([&](int member) {
    IntegerActivations a = shared;
    if (own) {
      const int64_t offset = (partial(member, kGroupPanels) - row_scratch(member)) * int64_t(sizeof(float));
      a = activations(own_[size_t(member)], offset, in.rows, w.columns, w.format.group);
      for (int64_t row = 0; row < in.rows; ++row) quantize_row(chunk, row, a.at(0, row), member);
    }
    if (kernels_.configure != nullptr) kernels_.configure(w.format);
    while (const WorkRanges::Piece piece = ranges_.claim(member)) {
      Group group;
      for (int64_t item = piece.begin; item < piece.end; ++item) group.panels[group.count++] = item;
      if (chunk.gated())
        for (int i = 0, n = group.count; i < n; ++i) group.panels[group.count++] = items + group.panels[i];
      multiply_group(chunk, group, a, member);
      end_group(chunk, group, member);
    }
    if (kernels_.release != nullptr) kernels_.release();
  });
}

// Normed, in the weights' order of columns, and rounded.
void IntegerLinear::quantize_row(const Chunk& chunk, int64_t row, const IntegerActivations& to, int member) const {
  const float* x = chunk.in.row(row);
  float* normed = row_scratch(member);
  if (chunk.in.norm_weight != nullptr) {
    floats_.norm_row(x, chunk.in.norm_weight, chunk.in.norm_epsilon, chunk.w.columns, normed);
    x = normed;
  }
  if (!chunk.w.input_order.empty()) {
    float* sorted = normed + round_up(max_columns_, 16);
    for (int64_t k = 0; k < chunk.w.columns; ++k) sorted[k] = x[chunk.w.input_order[size_t(k)]];
    x = sorted;
  }
  kernels_.quantize_row(x, chunk.w.columns, to);
}

void IntegerLinear::multiply_group(const Chunk& chunk, const Group& group, const IntegerActivations& a,
                                   int member) const {
  const IntegerLayout& layout = chunk.w.layout;
  const int64_t groups = layout.groups();
  IntegerProduct p;
  p.format = layout.format;
  p.strides = p.ahead.strides = chunk.w.strides;
  p.from_memory = chunk.single;
  if (chunk.single && chunk.in.rows * 8 / layout.format.bits >= products_to_ask_ahead_) {
    p.near_bytes = layout.striped ? kStripeNearBytes : kNearBytes;
    p.far_bytes = layout.striped ? 0 : kFarBytes;
  }
  for (int64_t g = 0; g < groups; g += chunk.block_groups) {
    p.first_group = g;
    p.groups = std::min(chunk.block_groups, groups - g);
    p.last_columns = layout.padded_columns(g + p.groups - 1);
    p.first = g == 0;
    for (int i = 0; i < group.count; ++i) {
      p.headers = chunk.w.headers_at(group.panels[i]);
      p.weights = chunk.w.weights_at(group.panels[i]);
      if (!chunk.single) {
        // The next panel's part of this block; behind the last panel the first one's of the next block.
        const bool last = i + 1 == group.count;
        const uint8_t* next = chunk.w.weights_at(group.panels[last ? 0 : i + 1]);
        p.ahead.pairs = next + p.strides.group_at(last ? std::min(g + p.groups, groups - 1) : g);
        p.ahead.count = (p.groups * layout.group_bytes() / 64 + chunk.tiles - 1) / chunk.tiles;
      }
      for (int64_t tile = 0; tile < chunk.tiles; ++tile) {
        const int64_t t = chunk.first(tile);
        p.tokens = int(chunk.first(tile + 1) - t);
        p.a = a.at(g, t);
        p.y = partial(member, i) + t * kPanelRows;
        p.ahead.begin = tile * p.ahead.count;
        kernels_.multiply(p);
      }
    }
  }
}

void IntegerLinear::end_group(const Chunk& chunk, const Group& group, int member) const {
  const int ends = chunk.gated() ? group.count / 2 : group.count;
  for (int i = 0; i < ends; ++i) {
    const int64_t panel = group.panels[i];
    const PanelMatrix::Place place = chunk.w.place(panel);
    const float* y = partial(member, i);
    const float* bias = chunk.w.bias_at(panel);
    float* to = chunk.out.out + place.row;
    switch (chunk.out.end) {
      case LinearEnd::kStore:
        floats_.store(y, chunk.in.rows, place.count, bias, to, chunk.out.stride);
        break;
      case LinearEnd::kAdd:
        floats_.add(y, chunk.in.rows, place.count, bias, to, chunk.out.stride);
        break;
      case LinearEnd::kGated:
        floats_.gated(y, partial(member, ends + i), chunk.in.rows, place.count, bias,
                      chunk.w.bias_at(group.panels[ends + i]), to, chunk.out.stride);
        break;
    }
  }
}

}  // namespace updraft::compute::cpu
