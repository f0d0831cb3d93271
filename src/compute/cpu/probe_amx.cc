#include <immintrin.h>

#include <cstring>

#include "compute/cpu/probe_kernels.h"

namespace updraft::compute::cpu {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t columns_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Eight full tiles: 16 rows of 64 bytes. GCC 12 believes that the load reads eight bytes only and may drop the stores
// to the rest; the empty assembly makes every byte of the structure count.
void configure_tiles() {
  TileConfig config;
  for (int t = 0; t < 8; ++t) config.columns_bytes[t] = 64, config.rows[t] = 16;
  asm volatile("" ::"r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// Four accumulators, two tiles of each operand: every product's operands are in registers.
template <class Product>
int64_t run(int64_t rounds, int32_t* sink, int64_t operations_per_product, Product product) {
  alignas(64) int32_t zeros[256] = {};
  configure_tiles();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, zeros, 64);
  _tile_loadd(5, zeros, 64);
  _tile_loadd(6, zeros, 64);
  _tile_loadd(7, zeros, 64);
  for (int64_t round = 0; round < rounds; ++round) product();
  _tile_stored(0, zeros, 64);
  _tile_release();
  *sink = zeros[0];
  return rounds * 4 * operations_per_product;
}

}  // namespace

int64_t probe_int8_amx(int64_t rounds, int32_t* sink) {
  return run(rounds, sink, 16 * 16 * 64 * 2, [] {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  });
}

int64_t probe_bf16_amx(int64_t rounds, int32_t* sink) {
  return run(rounds, sink, 16 * 16 * 32 * 2, [] {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  });
}

}  // namespace updraft::compute::cpu
