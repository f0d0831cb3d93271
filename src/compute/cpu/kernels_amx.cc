// Products on AMX tile registers: bf16 weights in pairs, activations as bf16 terms.
#include <immintrin.h>

#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {
namespace {

constexpr int kTileRows = 16;
constexpr int64_t kTileElements = kTileRows * 32;
constexpr int64_t kWeightStride = kPanelRows * 4;   // bytes from one pair of k to the next
constexpr int64_t kOutputStride = kPanelRows * 4;   // bytes from one row of y to the next
constexpr int64_t kStepElements = kPanelRows * 32;  // weights of 32 columns of a panel
constexpr int64_t kPrefetchBytes = 4096;

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

void multiply_two(const bfloat16_t* w, int64_t block, const bfloat16_t* a, int64_t tile_stride, bool first, float* y) {
  float* y1 = y + kTileRows * kPanelRows;
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, y, kOutputStride);
    _tile_loadd(1, y + 16, kOutputStride);
    _tile_loadd(2, y1, kOutputStride);
    _tile_loadd(3, y1 + 16, kOutputStride);
  }
  const bfloat16_t* a1 = a + tile_stride;
  for (int64_t k = 0; k < block; k += 32) {
    _tile_loadd(6, w, kWeightStride);
    _tile_loadd(4, a, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w + 32, kWeightStride);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a1, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    w += kStepElements, a += kTileElements, a1 += kTileElements;
  }
  _tile_stored(0, y, kOutputStride);
  _tile_stored(1, y + 16, kOutputStride);
  _tile_stored(2, y1, kOutputStride);
  _tile_stored(3, y1 + 16, kOutputStride);
}

// One tile of activations: bound by memory, so it asks for weights ahead.
void multiply_one(const bfloat16_t* w, int64_t block, const bfloat16_t* a, bool first, float* y) {
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_loadd(0, y, kOutputStride);
    _tile_loadd(1, y + 16, kOutputStride);
  }
  for (int64_t k = 0; k < block; k += 32) {
    const char* ahead = reinterpret_cast<const char*>(w) + kPrefetchBytes;
    for (int line = 0; line < 32; ++line) __builtin_prefetch(ahead + line * 64, 0, 3);
    _tile_loadd(4, a, 64);
    _tile_loadd(6, w, kWeightStride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w + 32, kWeightStride);
    _tile_dpbf16ps(1, 4, 7);
    w += kStepElements, a += kTileElements;
  }
  _tile_stored(0, y, kOutputStride);
  _tile_stored(1, y + 16, kOutputStride);
}

void multiply(const bfloat16_t* w, int64_t block, const bfloat16_t* a, int64_t tile_stride, int64_t tiles, bool first,
              float* y) {
  int64_t tile = 0;
  for (; tile + 2 <= tiles; tile += 2)
    multiply_two(w, block, a + tile * tile_stride, tile_stride, first, y + tile * kTileRows * kPanelRows);
  if (tile < tiles) multiply_one(w, block, a + tile * tile_stride, first, y + tile * kTileRows * kPanelRows);
}

void add_terms(int64_t tokens, int terms, float* y) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int n = 0; n < kPanelRows; n += 16) {
      __m512 sum = _mm512_loadu_ps(y + t * terms * kPanelRows + n);
      for (int term = 1; term < terms; ++term)
        sum = _mm512_add_ps(sum, _mm512_loadu_ps(y + (t * terms + term) * kPanelRows + n));
      _mm512_storeu_ps(y + t * kPanelRows + n, sum);
    }
}

}  // namespace

const TileKernels& kernels_amx() {
  static constexpr TileKernels kTable = {
      .configure = configure, .release = release, .multiply = multiply, .add_terms = add_terms};
  return kTable;
}

}  // namespace updraft::compute::cpu
