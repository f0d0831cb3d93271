#include "compute/cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace updraft::compute::cpu {
namespace {

// Rows per pass over the weights: a block of their activations (256 k) fits L2 beside the panels' partial sums.
constexpr int64_t kChunkRows = 256;
// Panels whose partial sums wait in L2 while one block of activations serves them all.
constexpr int kGroupPanels = 8;
// Columns that a tile product goes on for before its sums pass through memory: the activations of two tiles (20 KiB
// with two terms) and a panel's weights (10 KiB) stay in L1. Measured on one thread of Granite Rapids, 256 rows of
// 4096, two terms, per cent of the bf16 register peak: 96 columns 52, 128 57, 160 62, 192 61, 256 55, 384 43.
constexpr int64_t kTileBlock = 160;
constexpr int kTileRows = 16;
// So many tiles of rows multiply a panel as it is stored; more have each block of it converted first.
constexpr int64_t kStreamTiles = 3;
constexpr int64_t kRowGap = 16;  // floats between rows of scratch: never a power of two apart

constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

void ask_for(const char* data, int64_t lines) {
  for (int64_t line = 0; line < lines; ++line) __builtin_prefetch(data + line * 64, 0, 2);
}

// Panels as streams through memory, side by side: item i is panel i of each of `together` runs, so that a member that
// takes one item after the other reads each stream from front to back. Panels left over are items of their own.
class Streams {
 public:
  Streams(int64_t panels, int64_t together)
      : panels_(panels), together_(std::max<int64_t>(together, 1)), run_(panels / together_) {}
  int64_t items() const { return run_ + panels_ % together_; }
  int count(int64_t item) const { return item < run_ ? int(together_) : 1; }
  int64_t panel(int64_t item, int stream) const {
    return item < run_ ? stream * run_ + item : together_ * run_ + item - run_;
  }

 private:
  int64_t panels_, together_, run_;
};

}  // namespace

// How a chunk's rows are cut in tiles of nearly equal width.
struct Linear::Shape {
  int64_t rows = 0;
  int64_t tiles = 0;
  bool on_tiles = false;  // tile instructions
  int tile_tokens = 0;    // the widest tile allowed
  int terms = 1;          // bf16 terms of an activation, with tile instructions
  int64_t columns = 0, padded_columns = 0;

  int64_t first(int64_t tile) const {
    if (on_tiles) return std::min(tile * tile_tokens, rows);
    return tile * (rows / tiles) + std::min(tile, rows % tiles);
  }
  int tokens(int64_t tile) const { return int(first(tile + 1) - first(tile)); }
  bool single() const { return tiles == 1; }
  // Panels are multiplied as they are stored, while they come from memory.
  bool streamed() const { return !on_tiles && tiles <= kStreamTiles; }
  // Activations lie block of columns after block, in a block tile after tile: what a group of panels reads again and
  // again is one piece of memory, spread evenly over the sets of L2.
  int64_t block() const { return !on_tiles ? kBlock : single() ? padded_columns : kTileBlock; }
  int64_t block_at(int64_t k) const { return std::min(block(), padded_columns - k); }
  // The block that a group reads next: activations are asked for a block ahead, each panel of the group taking its
  // share.
  int64_t block_after(int64_t k) const { return k + block() < columns ? k + block() : 0; }
  static int64_t share(int64_t bytes, int panels) { return (bytes / 64 + panels - 1) / panels; }  // in lines
  // Floats: [block][tile][k in block][token].
  int64_t floats_at(int64_t k, int64_t tile) const { return k * rows + first(tile) * block_at(k); }
  // Tile instructions: [block][pair of tiles][32 columns][2 tiles][terms][16, 32]; a single tile is alone.
  int64_t pairs() const { return (tiles + 1) / 2; }
  int64_t tile_elements() const { return terms * kTileRows * 32; }
  int64_t piece_stride() const { return single() ? tile_elements() : 2 * tile_elements(); }
  int64_t pair_stride(int64_t k) const { return block_at(k) / 32 * piece_stride(); }
  int64_t terms_at(int64_t k, int64_t tile) const {
    return k / 32 * pairs() * piece_stride() + tile / 2 * pair_stride(k) + tile % 2 * tile_elements();
  }
};

struct Linear::Scratch {
  float* rows;  // [kTileRows, row_stride] a tile's rows, normed
  int64_t row_stride;
  float* activations;  // a single tile's, so that every member prepares its own without waiting
  float* block;        // [kBlock, 32] a panel's block as F32
  float* partial;      // [panels of a group][partial_stride]
  int64_t partial_stride;
};

// The panels that one member multiplies together.
struct Linear::Group {
  int64_t panels[kGroupPanels];
  int count = 0;

  // The weights that are read after block [k, k + block) of panel i.
  const char* after(const CpuMatrix& w, int i, int64_t k, int64_t block) const {
    const int64_t step = kPanelRows * w.element_bytes();
    if (i + 1 < count) return w.panel_at(panels[i + 1]) + k * step;
    if (k + block < w.padded_columns) return w.panel_at(panels[0]) + (k + block) * step;
    return w.panel_at(panels[count - 1]) + k * step;  // no more
  }
  // The weights of panel i one block later; at the end, those of the group that probably follows.
  const char* later(const CpuMatrix& w, int i, int64_t k, int64_t block) const {
    if (k + block < w.padded_columns) return w.panel_at(panels[i]) + (k + block) * kPanelRows * w.element_bytes();
    const int64_t run = panels[count - 1] - panels[0] + 1 == count ? count : count / 2;
    return w.panel_at(std::min(panels[i] + run, w.panels - 1));
  }
};

Linear::Linear(const InstructionSet& set, int terms, ThreadTeam& team)
    : kernels_(set.kernels->linear),
      tiles_(set.tiles),
      products_to_ask_ahead_(set.products_to_ask_ahead),
      terms_(terms),
      team_(team),
      ranges_(team.size()),
      chunk_rows_(kChunkRows),
      group_panels_(kGroupPanels) {
  own_.resize(size_t(team.size()));
}

void Linear::tune(int64_t chunk_rows, int group_panels) {
  CHECK(chunk_rows >= 1 && chunk_rows <= kChunkRows && group_panels >= 2 && group_panels <= kGroupPanels)
      << chunk_rows << " rows, " << group_panels << " panels";
  chunk_rows_ = chunk_rows;
  group_panels_ = group_panels;
}

// A single tile's activations: floats, or bf16 terms.
int64_t Linear::single_floats(int64_t padded_columns) const {
  return kTileRows * padded_columns * std::max<int64_t>(2, terms_ + 1) / 2;
}

void Linear::reserve(int64_t max_rows, int64_t columns) {
  max_rows = std::min(max_rows, kChunkRows);
  if (max_rows <= max_rows_ && columns <= max_columns_) return;
  max_rows_ = std::max(max_rows, max_rows_);
  max_columns_ = std::max(columns, max_columns_);
  shared_ = HugeMemory();
  for (HugeMemory& memory : own_) memory = HugeMemory();
  const int64_t padded = round_up(max_columns_, 32);
  int64_t activation_bytes = max_rows_ * padded * int64_t(sizeof(float));
  int64_t partial_floats = max_rows_ * kPanelRows;
  if (tiles_ != nullptr) {
    const int64_t tile_rows = round_up(max_rows_, 2 * kTileRows);
    activation_bytes = std::max(activation_bytes, tile_rows * terms_ * padded * int64_t(sizeof(bfloat16_t)));
    partial_floats = tile_rows * kPanelRows;
  }
  shared_ = HugeMemory(activation_bytes, "the activations");
  partial_stride_ = partial_floats;
  const int64_t own_floats =
      kTileRows * (padded + kRowGap) + single_floats(padded) + kBlock * kPanelRows + kGroupPanels * partial_floats;
  for (HugeMemory& memory : own_) memory = HugeMemory(own_floats * int64_t(sizeof(float)), "the activations");
}

Linear::Scratch Linear::scratch_of(int member) const {
  const int64_t padded = round_up(max_columns_, 32);
  Scratch s;
  s.rows = own_[size_t(member)].as<float>();
  s.row_stride = padded + kRowGap;
  s.activations = s.rows + kTileRows * s.row_stride;
  s.block = s.activations + single_floats(padded);
  s.partial = s.block + kBlock * kPanelRows;
  s.partial_stride = partial_stride_;
  return s;
}

void Linear::multiply(const CpuMatrix& w, const LinearInput& in, const LinearOutput& out) {
  CHECK(std::min(in.rows, kChunkRows) <= max_rows_ && w.columns <= max_columns_)
      << in.rows << " rows of " << w.columns << "; reserved " << max_rows_ << " of " << max_columns_;
  for (int64_t row = 0; row < in.rows; row += chunk_rows_)
    multiply_chunk(w, in.part(row, std::min(chunk_rows_, in.rows - row)), out.from(row));
}

void Linear::multiply_chunk(const CpuMatrix& w, const LinearInput& in, const LinearOutput& out) {
  Shape shape;
  shape.rows = in.rows;
  shape.on_tiles = w.layout == PanelLayout::kPairs;
  shape.tile_tokens = shape.on_tiles ? kTileRows : kernels_.tile_tokens;
  shape.terms = terms_;
  shape.tiles = (in.rows + shape.tile_tokens - 1) / shape.tile_tokens;
  shape.columns = w.columns;
  shape.padded_columns = w.padded_columns;

  if (!shape.single())
    team_.parallel_for(shape.tiles, 1, [&](int64_t begin, int64_t end, int member) {
      Scratch scratch = scratch_of(member);
      for (int64_t tile = begin; tile < end; ++tile) prepare(in, shape, tile, scratch);
    });

  const bool gated = out.end == LinearEnd::kGated;
  const int64_t outputs = gated ? w.panels / 2 : w.panels;  // in panels
  const Streams streams(outputs, shape.streamed() ? kernels_.stream_panels(shape.tokens(0)) / (gated ? 2 : 1) : 1);
  const int64_t most = shape.streamed() || shape.single() ? 1 : gated ? group_panels_ / 2 : group_panels_;
  ranges_.reset(streams.items(), most);
  team_.share([&](int member) {
    Scratch scratch = scratch_of(member);
    if (shape.single()) prepare(in, shape, 0, scratch);
    if (shape.on_tiles) tiles_->configure(shape.single() ? shape.tokens(0) : kTileRows);
    while (const WorkRanges::Piece piece = ranges_.claim(member)) {
      Group group;
      for (int64_t item = piece.begin; item < piece.end; ++item)
        for (int i = 0; i < streams.count(item); ++i) group.panels[group.count++] = streams.panel(item, i);
      if (gated)
        for (int i = 0, n = group.count; i < n; ++i) group.panels[group.count++] = outputs + group.panels[i];
      multiply_group(w, group, shape, scratch);
      end_group(w, group, shape, out, scratch);
    }
    if (shape.on_tiles) tiles_->release();
  });
}

// One tile's activations, normed, where the products look for them.
void Linear::prepare(const LinearInput& in, const Shape& shape, int64_t tile, Scratch& scratch) const {
  const float* rows[kTileRows];
  const int tokens = shape.tokens(tile);
  for (int t = 0; t < tokens; ++t) {
    rows[t] = in.row(shape.first(tile) + t);
    if (in.norm_weight == nullptr) continue;
    float* normed = scratch.rows + t * scratch.row_stride;
    kernels_.norm_row(rows[t], in.norm_weight, in.norm_epsilon, shape.columns, normed);
    rows[t] = normed;
  }
  if (shape.on_tiles) {
    split_activations(rows, shape, tile,
                      shape.single() ? reinterpret_cast<bfloat16_t*>(scratch.activations) : shared_.as<bfloat16_t>());
  } else {
    pack_activations(rows, shape, tile, shape.single() ? scratch.activations : shared_.as<float>());
  }
}

void Linear::multiply_group(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const {
  if (shape.on_tiles) {
    multiply_tiles(w, group, shape, scratch);
  } else if (shape.streamed()) {
    stream_panels(w, group, shape, scratch);
  } else {
    multiply_panels(w, group, shape, scratch);
  }
}

// One tile of rows side by side.
void Linear::pack_activations(const float* const* rows, const Shape& shape, int64_t tile, float* activations) const {
  const int tokens = shape.tokens(tile);
  for (int64_t k = 0; k < shape.columns; k += kBlock) {
    const int64_t block = shape.block_at(k);
    float* to = activations + shape.floats_at(k, tile);
    for (int64_t begin = 0; begin < block; begin += 16)  // a cache line of every row in turn
      for (int t = 0; t < tokens; ++t) {
        const float* x = rows[t] + k;
        const int64_t end = std::min<int64_t>(begin + 16, block);
        for (int64_t i = begin; i < end; ++i) to[i * tokens + t] = x[i];
      }
  }
}

// One tile of rows as bf16 terms. Unused rows of the tile keep what they have: no other row sees them.
void Linear::split_activations(const float* const* rows, const Shape& shape, int64_t tile,
                               bfloat16_t* activations) const {
  for (int64_t k = 0; k < shape.columns; k += shape.block())
    for (int t = 0; t < shape.tokens(tile); ++t)
      kernels_.split_row(rows[t] + k, std::min(shape.block(), shape.columns - k), shape.block_at(k), terms_,
                         kTileRows * 32, shape.piece_stride(), activations + shape.terms_at(k, tile) + t * 32);
}

// Panels as they are: a single tile takes them whole, each of a few tiles takes its turn at a block, which stays in L1.
void Linear::stream_panels(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const {
  CHECK(!is_integer(w.packing)) << "an integer packing among floats";
  const void* panels[kGroupPanels];
  StreamProduct p;
  p.panels = panels;
  p.count = group.count;
  p.y_stride = scratch.partial_stride;
  const int64_t step = shape.single() ? w.columns : kBlock;
  for (int64_t k = 0; k < w.columns; k += step) {
    for (int i = 0; i < group.count; ++i) panels[i] = w.panel_at(group.panels[i]) + k * kPanelRows * w.element_bytes();
    p.columns = std::min(step, w.columns - k);
    p.first = k == 0;
    for (int64_t tile = 0; tile < shape.tiles; ++tile) {
      p.tokens = shape.tokens(tile);
      p.x = shape.single() ? scratch.activations : shared_.as<float>() + shape.floats_at(k, tile);
      p.from_memory = tile == 0;
      p.ask_ahead = p.tokens * 4 / w.element_bytes() >= products_to_ask_ahead_;
      p.y = scratch.partial + shape.first(tile) * kPanelRows;
      kernels_.stream(dtype_of(w.packing), p);
    }
  }
}

void Linear::multiply_panels(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const {
  for (int64_t k = 0; k < w.columns; k += kBlock) {
    const int64_t block = shape.block_at(k);
    const int64_t block_bytes = block * kPanelRows * w.element_bytes();
    const int64_t lines_a_tile = (block_bytes / 64 + shape.tiles - 1) / shape.tiles;
    const int64_t next_k = shape.block_after(k);
    for (int i = 0; i < group.count; ++i) {
      const char* data = w.panel_at(group.panels[i]) + k * kPanelRows * w.element_bytes();
      const char* after = group.after(w, i, k, block);
      const float* weights = reinterpret_cast<const float*>(data);
      if (w.packing != Packing::kF32) {
        kernels_.convert(dtype_of(w.packing), data, DType::kF32, scratch.block, block * kPanelRows);
        weights = scratch.block;
      }
      float* y = scratch.partial + i * scratch.partial_stride;
      for (int64_t tile = 0; tile < shape.tiles; ++tile, after += lines_a_tile * 64) {
        const int64_t first = shape.first(tile);
        const int64_t share =
            shape.share(shape.tokens(tile) * shape.block_at(next_k) * int64_t(sizeof(float)), group.count);
        ask_for(after, lines_a_tile);
        ask_for(reinterpret_cast<const char*>(shared_.as<float>() + shape.floats_at(next_k, tile)) + i * share * 64,
                share);
        kernels_.tile(weights, block, shared_.as<float>() + shape.floats_at(k, tile), shape.tokens(tile), k == 0,
                      y + first * kPanelRows);
      }
    }
  }
}

void Linear::multiply_tiles(const CpuMatrix& w, const Group& group, const Shape& shape, Scratch& scratch) const {
  const bfloat16_t* a =
      shape.single() ? reinterpret_cast<const bfloat16_t*>(scratch.activations) : shared_.as<const bfloat16_t>();
  const auto weights = [&](int i, int64_t k) { return w.panel_at(group.panels[i]) + k * kPanelRows * 2; };
  for (int64_t k = 0; k < w.padded_columns; k += shape.block()) {
    TileProduct product;
    product.block = shape.block_at(k);
    product.a_step = shape.piece_stride();
    product.first = k == 0;
    const int64_t next_k = shape.block_after(k);
    const int64_t later_a_bytes = shape.pair_stride(next_k) * int64_t(sizeof(bfloat16_t));
    product.later_a_lines = shape.share(later_a_bytes, group.count);
    product.later_w_lines = shape.share(product.block * kPanelRows * 2, shape.pairs());
    for (int64_t pair = 0; pair < shape.pairs(); ++pair) {
      product.tiles = 2 * pair + 1 == shape.tiles ? 1 : 2;
      product.a = a + shape.terms_at(k, 2 * pair);
      for (int i = 0; i < group.count; ++i) {
        product.w = reinterpret_cast<const bfloat16_t*>(weights(i, k));
        product.y = scratch.partial + i * scratch.partial_stride + pair * 2 * kTileRows * kPanelRows;
        product.later_w = group.later(w, i, k, product.block) + pair * product.later_w_lines * 64;
        product.later_a =
            reinterpret_cast<const char*>(a + shape.terms_at(next_k, 2 * pair)) + i * product.later_a_lines * 64;
        tiles_->multiply(product, terms_);
      }
    }
  }
}

void Linear::end_group(const CpuMatrix& w, const Group& group, const Shape& shape, const LinearOutput& out,
                       const Scratch& scratch) const {
  const auto partial = [&](int i) { return scratch.partial + i * scratch.partial_stride; };
  const int ends = out.end == LinearEnd::kGated ? group.count / 2 : group.count;
  for (int i = 0; i < ends; ++i) {
    const CpuMatrix::Place place = w.place(group.panels[i]);
    float* to = out.out + place.row;
    const float* bias = w.bias_at(group.panels[i]);
    switch (out.end) {
      case LinearEnd::kStore:
        kernels_.store(partial(i), shape.rows, place.count, bias, to, out.stride);
        break;
      case LinearEnd::kAdd:
        kernels_.add(partial(i), shape.rows, place.count, bias, to, out.stride);
        break;
      case LinearEnd::kGated:
        kernels_.gated(partial(i), partial(ends + i), shape.rows, place.count, bias, w.bias_at(group.panels[ends + i]),
                       to, out.stride);
        break;
    }
  }
}

}  // namespace updraft::compute::cpu
