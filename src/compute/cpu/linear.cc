#include "compute/cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace updraft::compute::cpu {
namespace {

// Rows per pass over the weights: a block of their activations (256 k) fits L2 beside the panels' partial sums.
constexpr int64_t kChunkRows = 256;
// Panels whose partial sums wait in L2 while one block of activations serves them all.
constexpr int kGroupPanels = 4;
// Columns that a tile product goes on for before its sums pass through memory: A's block stays in L2.
constexpr int64_t kTileBlock = 1024;
constexpr int kTileRows = 16;
constexpr int64_t kTileElements = kTileRows * 32;

constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

}  // namespace

// How a chunk's rows are cut in tiles of nearly equal width.
struct Linear::Shape {
  int64_t rows = 0;
  int64_t tiles = 0;
  bool on_tiles = false;  // tile instructions
  int tile_tokens = 0;    // the widest tile allowed
  int64_t columns = 0, padded_columns = 0;

  int64_t first(int64_t tile) const {
    if (on_tiles) return std::min(tile * tile_tokens, rows);
    return tile * (rows / tiles) + std::min(tile, rows % tiles);
  }
  int tokens(int64_t tile) const { return int(first(tile + 1) - first(tile)); }
  int64_t tile_stride() const { return padded_columns / 32 * kTileElements; }
};

struct Linear::Scratch {
  float* row;          // [max columns] one row, normed
  float* activations;  // a single tile's, so that every member prepares its own without waiting
  float* block;        // [kBlock, 32] a panel's block as F32
  float* partial;      // [kGroupPanels][y_rows, 32]
  int64_t partial_stride;
};

Linear::Linear(const InstructionSet& set, int terms, ThreadTeam& team)
    : kernels_(set.kernels->linear), tiles_(set.tiles), terms_(terms), team_(team) {
  own_.resize(size_t(team.size()));
}

void Linear::reserve(int64_t max_rows, int64_t columns) {
  max_rows = std::min(max_rows, kChunkRows);
  if (max_rows <= max_rows_ && columns <= max_columns_) return;
  max_rows_ = std::max(max_rows, max_rows_);
  max_columns_ = std::max(columns, max_columns_);
  shared_ = HugeMemory();
  for (HugeMemory& memory : own_) memory = HugeMemory();
  // An activation takes 4 bytes, or 2 a term in tiles of 16 rows.
  const int64_t rows = round_up(max_rows_, 8) + kMaxTileTokens;
  const int64_t padded = round_up(max_columns_, 32);
  const int64_t activation_bytes = tiles_ == nullptr ? 4 : std::max(4, 2 * kTileRows / (kTileRows / terms_) + 2);
  shared_ = HugeMemory(rows * padded * activation_bytes, "the activations");
  const int64_t y_rows = round_up(max_rows_ + kTileRows, kTileRows) * (tiles_ == nullptr ? 1 : terms_ + 1);
  const int64_t floats = padded + kTileRows * padded + kBlock * kPanelRows + kGroupPanels * y_rows * kPanelRows;
  for (HugeMemory& memory : own_) memory = HugeMemory(floats * int64_t(sizeof(float)), "the activations");
}

void Linear::multiply(const CpuMatrix& w, const LinearInput& in, const LinearOutput& out) {
  CHECK(std::min(in.rows, kChunkRows) <= max_rows_ && w.columns <= max_columns_)
      << in.rows << " rows of " << w.columns << "; reserved " << max_rows_ << " of " << max_columns_;
  for (int64_t row = 0; row < in.rows; row += kChunkRows) {
    LinearInput part = in;
    part.rows = std::min(kChunkRows, in.rows - row);
    if (in.indices != nullptr) {
      part.indices = in.indices + row;
    } else {
      part.x = in.x + row * in.stride;
    }
    LinearOutput to = out;
    to.out = out.out + row * out.stride;
    multiply_chunk(w, part, to);
  }
}

void Linear::multiply_chunk(const CpuMatrix& w, const LinearInput& in, const LinearOutput& out) {
  Shape shape;
  shape.rows = in.rows;
  shape.on_tiles = w.layout == PanelLayout::kPairs;
  shape.tile_tokens = shape.on_tiles ? kTileRows / terms_ : kernels_.tile_tokens;
  shape.tiles = (in.rows + shape.tile_tokens - 1) / shape.tile_tokens;
  shape.columns = w.columns;
  shape.padded_columns = w.padded_columns;

  const auto scratch_of = [&](int member) {
    float* p = own_[size_t(member)].as<float>();
    const int64_t padded = round_up(max_columns_, 32);
    Scratch s;
    s.row = p;
    s.activations = s.row + padded;
    s.block = s.activations + kTileRows * padded;
    s.partial = s.block + kBlock * kPanelRows;
    s.partial_stride = (own_[size_t(member)].bytes() / int64_t(sizeof(float)) - (s.partial - p)) / kGroupPanels /
                       kPanelRows * kPanelRows;
    return s;
  };

  const bool single = shape.tiles == 1;
  if (!single)
    team_.parallel_for(shape.tiles, 1, [&](int64_t begin, int64_t end, int member) {
      Scratch scratch = scratch_of(member);
      for (int64_t tile = begin; tile < end; ++tile)
        if (shape.on_tiles) {
          split_activations(in, shape, tile, scratch, shared_.as<bfloat16_t>() + tile * shape.tile_stride());
        } else {
          pack_activations(in, shape, tile, scratch, shared_.as<float>() + shape.first(tile) * w.columns);
        }
    });

  const bool gated = out.end == LinearEnd::kGated;
  const int64_t items = gated ? w.panels / 2 : w.panels;
  const int64_t group = single ? 1 : gated ? kGroupPanels / 2 : kGroupPanels;
  std::atomic<int64_t> next{0};
  team_.run([&](int member) {
    Scratch scratch = scratch_of(member);
    if (single) {
      if (shape.on_tiles) {
        split_activations(in, shape, 0, scratch, reinterpret_cast<bfloat16_t*>(scratch.activations));
      } else {
        pack_activations(in, shape, 0, scratch, scratch.activations);
      }
    }
    if (shape.on_tiles) tiles_->configure(single ? shape.tokens(0) * terms_ : kTileRows);
    for (;;) {
      const int64_t begin = next.fetch_add(group, std::memory_order_relaxed);
      if (begin >= items) break;
      int64_t panels[kGroupPanels];
      int count = 0;
      for (int64_t item = begin; item < std::min(begin + group, items); ++item) panels[count++] = item;
      if (gated)
        for (int i = 0, n = count; i < n; ++i) panels[count++] = items + panels[i];
      if (shape.on_tiles) {
        multiply_tiles(w, panels, count, shape,
                       single ? reinterpret_cast<const bfloat16_t*>(scratch.activations) : shared_.as<bfloat16_t>(),
                       scratch);
      } else if (single) {
        for (int i = 0; i < count; ++i)
          stream_panel(w, panels[i], shape, scratch.activations, scratch.partial + i * scratch.partial_stride);
      } else {
        multiply_panels(w, panels, count, shape, scratch);
      }
      end_panels(w, panels, count, shape, out, scratch);
    }
    if (shape.on_tiles) tiles_->release();
  });
}

// One tile of rows side by side: to [columns, tokens].
void Linear::pack_activations(const LinearInput& in, const Shape& shape, int64_t tile, Scratch& scratch,
                              float* to) const {
  const int tokens = shape.tokens(tile);
  const int64_t columns = shape.columns;
  for (int t = 0; t < tokens; ++t) {
    const float* x = in.row(shape.first(tile) + t);
    if (tokens == 1) {
      kernels_.norm_row(x, in.norm_weight, in.norm_epsilon, columns, to);
      return;
    }
    if (in.norm_weight != nullptr) {
      kernels_.norm_row(x, in.norm_weight, in.norm_epsilon, columns, scratch.row);
      x = scratch.row;
    }
    for (int64_t k = 0; k < columns; ++k) to[k * tokens + t] = x[k];
  }
}

// One tile of rows as bf16 terms: to [columns / 32, 16, 32]. Unused rows keep what they have: no other row sees them.
void Linear::split_activations(const LinearInput& in, const Shape& shape, int64_t tile, Scratch& scratch,
                               bfloat16_t* to) const {
  for (int t = 0; t < shape.tokens(tile); ++t) {
    const float* x = in.row(shape.first(tile) + t);
    if (in.norm_weight != nullptr) {
      kernels_.norm_row(x, in.norm_weight, in.norm_epsilon, shape.columns, scratch.row);
      x = scratch.row;
    }
    kernels_.split_row(x, shape.columns, shape.padded_columns, terms_, 32, kTileElements,
                       to + int64_t(t) * terms_ * 32);
  }
}

void Linear::stream_panel(const CpuMatrix& w, int64_t panel, const Shape& shape, const float* x, float* y) const {
  const char* data = w.panel_at(panel);
  const int tokens = shape.tokens(0);
  switch (w.packing) {
    case Packing::kF32:
      return kernels_.stream_f32(reinterpret_cast<const float*>(data), w.columns, x, tokens, y);
    case Packing::kF16:
      return kernels_.stream_f16(reinterpret_cast<const half_t*>(data), w.columns, x, tokens, y);
    case Packing::kBF16:
      return kernels_.stream_bf16(reinterpret_cast<const bfloat16_t*>(data), w.columns, x, tokens, y);
  }
}

void Linear::multiply_panels(const CpuMatrix& w, const int64_t* panels, int count, const Shape& shape,
                             Scratch& scratch) const {
  for (int64_t k = 0; k < w.columns; k += kBlock) {
    const int64_t block = std::min<int64_t>(kBlock, w.columns - k);
    for (int i = 0; i < count; ++i) {
      const char* data = w.panel_at(panels[i]) + k * kPanelRows * w.element_bytes();
      const float* weights = reinterpret_cast<const float*>(data);
      if (w.packing != Packing::kF32) {
        kernels_.convert(w.packing == Packing::kF16 ? DType::kF16 : DType::kBF16, data, DType::kF32, scratch.block,
                         block * kPanelRows);
        weights = scratch.block;
      }
      float* y = scratch.partial + i * scratch.partial_stride;
      for (int64_t tile = 0; tile < shape.tiles; ++tile) {
        const int64_t first = shape.first(tile);
        const int tokens = shape.tokens(tile);
        kernels_.tile(weights, block, shared_.as<float>() + first * w.columns + k * tokens, tokens, k == 0,
                      y + first * kPanelRows);
      }
    }
  }
}

void Linear::multiply_tiles(const CpuMatrix& w, const int64_t* panels, int count, const Shape& shape,
                            const bfloat16_t* a, Scratch& scratch) const {
  for (int64_t k = 0; k < w.padded_columns; k += kTileBlock) {
    const int64_t block = std::min(kTileBlock, w.padded_columns - k);
    for (int i = 0; i < count; ++i)
      tiles_->multiply(reinterpret_cast<const bfloat16_t*>(w.panel_at(panels[i])) + k * kPanelRows, block,
                       a + k / 32 * kTileElements, shape.tile_stride(), shape.tiles, k == 0,
                       scratch.partial + i * scratch.partial_stride);
  }
  for (int i = 0; i < count; ++i) {
    float* y = scratch.partial + i * scratch.partial_stride;
    for (int64_t tile = 0; tile < shape.tiles; ++tile) {
      float* from = y + tile * kTileRows * kPanelRows;
      tiles_->add_terms(shape.tokens(tile), terms_, from);
      if (tile > 0)
        std::memmove(y + shape.first(tile) * kPanelRows, from, size_t(shape.tokens(tile) * kPanelRows) * sizeof(float));
    }
  }
}

void Linear::end_panels(const CpuMatrix& w, const int64_t* panels, int count, const Shape& shape,
                        const LinearOutput& out, const Scratch& scratch) const {
  const auto partial = [&](int i) { return scratch.partial + i * scratch.partial_stride; };
  const int ends = out.end == LinearEnd::kGated ? count / 2 : count;
  for (int i = 0; i < ends; ++i) {
    const CpuMatrix::Place place = w.place(panels[i]);
    float* to = out.out + place.row;
    const float* bias = w.bias_at(panels[i]);
    switch (out.end) {
      case LinearEnd::kStore:
        kernels_.store(partial(i), shape.rows, place.count, bias, to, out.stride);
        break;
      case LinearEnd::kAdd:
        kernels_.add(partial(i), shape.rows, place.count, bias, to, out.stride);
        break;
      case LinearEnd::kGated:
        kernels_.gated(partial(i), partial(ends + i), shape.rows, place.count, bias, w.bias_at(panels[ends + i]), to,
                       out.stride);
        break;
    }
  }
}

}  // namespace updraft::compute::cpu
