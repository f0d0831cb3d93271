// Products on AMX tile registers: bf16 weights in pairs, activations as bf16 terms.
#include <immintrin.h>

#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {
namespace {

constexpr int kTileRows = 16;
constexpr int64_t kActivationTile = kTileRows * 32;  // elements of one tile of activations
constexpr int64_t kWeightStep = kPanelRows * 32;     // elements of 32 columns of a panel
constexpr int64_t kWeightTile = 16 * 32;             // elements of one half of that
// How far ahead of a single tile's products weights are asked for, into L1 and into L2 (prefetch_distance.h says why
// two). Measured, one row, two threads of an Emerald Rapids class Xeon whose neighbours were busy, medians of 3 to 9
// runs in turns: 2 KiB ahead into L2 alone 18.9 GB/s, 2 and 16 KiB 20.7, 4 and 16 KiB 21.5, 4 and 32 KiB 23.4 (fused
// multiply-adds on the same weights 25); 16 rows 18.7 and, with 4 and 32 KiB, 18.8. Two panels side by side, each with
// half the distance: 20.9. On a Granite Rapids, where two distances are not measured, 2 KiB ahead into L2 gave 33 to 36
// GB/s, 4 to 16 KiB or nothing 28 to 30.
constexpr int64_t kTileNearBytes = 4096;
constexpr int64_t kTileFarBytes = 32768;

struct TileConfiguration {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Registers: 0..3 sums of (activation tile 0, 1) x (rows 0..15, 16..31 of the panel), 4 and 5 activations, 6 and 7
// weights.
void configure(int rows) {
  TileConfiguration c;
  for (int i = 0; i < 8; ++i) {
    c.row_bytes[i] = 64;
    c.rows[i] = uint8_t(i < 6 ? rows : kTileRows);
  }
  // GCC 12 believes that _tile_loadconfig reads eight bytes only, and would drop the stores to the rest.
  asm volatile("" : : "r"(&c) : "memory");
  _tile_loadconfig(&c);
}

void release() { _tile_release(); }

// Streams that are asked for ahead, a few lines at every step.
struct Ahead {
  const char* data;
  int64_t lines_a_step;

  Ahead(const char* begin, int64_t lines, int64_t steps) : data(begin), lines_a_step((lines + steps - 1) / steps) {}

  void step() {
    for (int64_t line = 0; line < lines_a_step; ++line, data += 64) __builtin_prefetch(data, 0, 2);
  }
};

// Sums of a tile: 16 tokens of a panel, rows 0..15 of the panel in one register, 16..31 in the other.
constexpr int64_t kTokenBytes = kPanelRows * sizeof(float);

// Two tiles of activations (32 KiB a block for two terms) stay in L1 while panel after panel streams by from L2: 2 KiB
// in 64 * Terms cycles of products, and 4 KiB of sums each way in 1024 * Terms / 2.
template <int Terms>
void multiply_two(const TileProduct& p) {
  const int64_t steps = p.block / 32;
  Ahead w_ahead(p.later_w, p.later_w_lines, steps), a_ahead(p.later_a, p.later_a_lines, steps);
  float* y0 = p.y;
  float* y1 = p.y + kTileRows * kPanelRows;
  if (p.first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, y0, kTokenBytes);
    _tile_loadd(1, y0 + 16, kTokenBytes);
    _tile_loadd(2, y1, kTokenBytes);
    _tile_loadd(3, y1 + 16, kTokenBytes);
  }
  const bfloat16_t *w = p.w, *a = p.a;
  for (int64_t step = 0; step < steps; ++step) {
    w_ahead.step();
    a_ahead.step();
    _tile_loadd(6, w, 64);
    _tile_loadd(7, w + kWeightTile, 64);
    for (int term = 0; term < Terms; ++term) {
      _tile_loadd(4, a + term * kActivationTile, 64);
      _tile_loadd(5, a + (Terms + term) * kActivationTile, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    w += kWeightStep;
    a += p.a_step;
  }
  _tile_stored(0, y0, kTokenBytes);
  _tile_stored(1, y0 + 16, kTokenBytes);
  _tile_stored(2, y1, kTokenBytes);
  _tile_stored(3, y1 + 16, kTokenBytes);
}

// One tile of activations: bound by memory, so it asks for weights ahead.
template <int Terms>
void multiply_one(const TileProduct& p) {
  if (p.first) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_loadd(0, p.y, kTokenBytes);
    _tile_loadd(1, p.y + 16, kTokenBytes);
  }
  const bfloat16_t *w = p.w, *a = p.a;
  for (int64_t k = 0; k < p.block; k += 32) {
    const char* ahead = reinterpret_cast<const char*>(w);
    for (int line = 0; line < 32; ++line, ahead += 64) {
      __builtin_prefetch(ahead + kTileNearBytes, 0, 3);
      __builtin_prefetch(ahead + kTileFarBytes, 0, 2);
    }
    _tile_loadd(6, w, 64);
    _tile_loadd(7, w + kWeightTile, 64);
    for (int term = 0; term < Terms; ++term) {
      _tile_loadd(4, a + term * kActivationTile, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
    w += kWeightStep;
    a += p.a_step;
  }
  _tile_stored(0, p.y, kTokenBytes);
  _tile_stored(1, p.y + 16, kTokenBytes);
}

template <int Terms>
void multiply_terms(const TileProduct& p) {
  p.tiles == 1 ? multiply_one<Terms>(p) : multiply_two<Terms>(p);
}

// Formula: y += a w^T per tile and term.   Floor: one product of 16 x 16 x 32 in 16 cycles; two tiles and two terms
// take 6 KiB of tiles for 8 products. Measured, one thread of a Granite Rapids class Xeon, operands in L2: 94 % of the
// register peak without passing sums through memory, 66 % with sums every 128 columns, 74 % every 256 (60 % with terms
// as rows of one tile, each with sums of its own); with weights from memory and activations from L3 (256 rows of 4096
// columns, stand-alone loop, median of 30 runs beside other load): 61 %. One row: the weights once from memory. Guarded
// by tests/compute/linear_test.cc.
void multiply(const TileProduct& p, int terms) { terms == 2 ? multiply_terms<2>(p) : multiply_terms<3>(p); }

}  // namespace

const TileKernels& kernels_amx() {
  static constexpr TileKernels kTable = {.configure = configure, .release = release, .multiply = multiply};
  return kTable;
}

}  // namespace updraft::compute::cpu
