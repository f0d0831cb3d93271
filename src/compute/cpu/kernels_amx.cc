// Products on AMX tile registers: bf16 weights in pairs, activations as bf16 terms.
#include <immintrin.h>

#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {
namespace {

constexpr int kTileRows = 16;
constexpr int64_t kActivationTile = kTileRows * 32;  // elements of one tile of activations
constexpr int64_t kWeightStep = kPanelRows * 32;     // elements of 32 columns of a panel
constexpr int64_t kWeightTile = 16 * 32;             // elements of one half of that
constexpr int64_t kOutputTile = kTileRows * 16;      // floats of one tile of sums
// Measured, one row, 2 threads of Granite Rapids: 2 KiB ahead into L2 33-36 GB/s; 4 to 16 KiB or nothing 28-30 GB/s,
// and as little with the two halves of a panel interleaved line by line.
constexpr int64_t kPrefetchBytes = 2048;

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

// What a pair of tiles asks for ahead of its time, spread over its steps.
struct Ahead {
  const char* w;
  const char* a;
  int64_t w_lines_a_step, a_lines_a_step;
};

// The activations of both tiles alternate in memory: one stream from L2, while the block of weights (16 KiB) stays in
// L1. Bound by L2: a step of 64 cycles of products takes 2 KiB of activations from it, and each pass 8 KiB of sums both
// ways.
void multiply_two(const bfloat16_t* w, int64_t block, const bfloat16_t* a, bool first, float* y, Ahead ahead) {
  float* y1 = y + 2 * kOutputTile;
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, y, 64);
    _tile_loadd(1, y + kOutputTile, 64);
    _tile_loadd(2, y1, 64);
    _tile_loadd(3, y1 + kOutputTile, 64);
  }
  for (int64_t k = 0; k < block; k += 32) {
    for (int64_t line = 0; line < ahead.a_lines_a_step; ++line, ahead.a += 64) __builtin_prefetch(ahead.a, 0, 2);
    for (int64_t line = 0; line < ahead.w_lines_a_step; ++line, ahead.w += 64) __builtin_prefetch(ahead.w, 0, 2);
    _tile_loadd(4, a, 64);
    _tile_loadd(6, w, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, a + kActivationTile, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(7, w + kWeightTile, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
    w += kWeightStep;
    a += 2 * kActivationTile;
  }
  _tile_stored(0, y, 64);
  _tile_stored(1, y + kOutputTile, 64);
  _tile_stored(2, y1, 64);
  _tile_stored(3, y1 + kOutputTile, 64);
}

// One tile of activations: bound by memory, so it asks for weights ahead.
void multiply_one(const bfloat16_t* w, int64_t block, const bfloat16_t* a, int64_t a_step, bool first, float* y) {
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_loadd(0, y, 64);
    _tile_loadd(1, y + kOutputTile, 64);
  }
  for (int64_t k = 0; k < block; k += 32) {
    const char* ahead = reinterpret_cast<const char*>(w) + kPrefetchBytes;
    for (int line = 0; line < 32; ++line) __builtin_prefetch(ahead + line * 64, 0, 2);
    _tile_loadd(4, a, 64);
    _tile_loadd(6, w, 64);
    _tile_loadd(7, w + kWeightTile, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    w += kWeightStep;
    a += a_step;
  }
  _tile_stored(0, y, 64);
  _tile_stored(1, y + kOutputTile, 64);
}

// Formula: y += a w^T per tile.   Floor: one product of 16 x 16 x 32 in 16 cycles. A loop of this shape on its own, 512
// rows of 4096 columns, 2 threads of a Granite Rapids class Xeon: 4.0 of 7.3 TFLOP/s with operands in registers (55
// %), 3.4 without asking for activations ahead; limited by L2 (3.8 to 4.8 without passing sums through memory). This
// function inside project_add (4096 x 4096, 256 rows), before it asked ahead: 3.2 TFLOP/s; since then the machine was
// never quiet. One row: the weights once from memory, 32 GB/s where the read probe had found 32.8. Guarded by
// tests/compute/linear_test.cc.
void multiply(const TileProduct& p) {
  if (p.tiles == 1) return multiply_one(p.w, p.block, p.a, kActivationTile, p.first, p.y);
  const int64_t pairs = (p.tiles + 1) / 2, steps = p.block / 32;
  const auto round_up = [](int64_t x, int64_t by) { return (x + by - 1) / by; };
  const int64_t w_lines = round_up(p.block * kPanelRows * 2 / 64, pairs);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const bfloat16_t* a = p.a + pair * p.pair_stride;
    float* y = p.y + pair * 4 * kOutputTile;
    if (2 * pair + 1 == p.tiles) return multiply_one(p.w, p.block, a, 2 * kActivationTile, p.first, y);
    multiply_two(p.w, p.block, a, p.first, y,
                 {p.next_w + pair * w_lines * 64, p.next_a + pair * p.next_a_stride, round_up(w_lines, steps),
                  round_up(p.next_a_lines, steps)});
  }
}

void add_terms(const float* y, int64_t tokens, int terms, float* out) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int half = 0; half < 2; ++half) {
      const float* row = y + half * kOutputTile + t * terms * 16;
      __m512 sum = _mm512_loadu_ps(row);
      for (int term = 1; term < terms; ++term) sum = _mm512_add_ps(sum, _mm512_loadu_ps(row + term * 16));
      _mm512_storeu_ps(out + t * kPanelRows + half * 16, sum);
    }
}

}  // namespace

const TileKernels& kernels_amx() {
  static constexpr TileKernels kTable = {
      .configure = configure, .release = release, .multiply = multiply, .add_terms = add_terms};
  return kTable;
}

}  // namespace updraft::compute::cpu
