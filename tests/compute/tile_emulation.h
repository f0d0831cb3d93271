// Tile instructions (AMX) in plain loops. A test that includes this and then a kernel's source compiles that source for
// processors without tiles: what it asks of them is the same, so its layouts and its arithmetic can be tested there.
// Nothing of the library is used, since this is compiled for one instruction set; what does not fit ends the program.
// Semantics: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TDPBSUD,
// TDPBF16PS.
#pragma once

#include <immintrin.h>

#include <cfloat>
#include <cstdint>
#include <cstring>

namespace updraft::test::tiles {

constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

struct Registers {
  uint8_t rows[kTiles] = {};
  uint16_t row_bytes[kTiles] = {};
  uint8_t data[kTiles][kRows][kRowBytes] = {};
};

inline void demand(bool holds) {
  if (!holds) __builtin_trap();
}

inline Registers& registers() {
  thread_local Registers all;
  return all;
}

// 64 bytes: palette, start row, 14 reserved; bytes of a row, 16 bits for each of 16 tiles; rows, 8 bits for each.
inline void load_configuration(const void* from) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  demand(bytes[0] == 1);  // the palette
  registers() = Registers();
  std::memcpy(registers().row_bytes, bytes + 16, sizeof registers().row_bytes);
  std::memcpy(registers().rows, bytes + 48, sizeof registers().rows);
  for (int i = 0; i < kTiles; ++i) demand(registers().rows[i] <= kRows && registers().row_bytes[i] <= kRowBytes);
}

inline void release() { registers() = Registers(); }

inline void zero(int i) {
  demand(registers().rows[i] > 0);  // configured
  std::memset(registers().data[i], 0, sizeof registers().data[i]);
}

inline void load(int i, const void* base, int64_t stride) {
  zero(i);
  for (int row = 0; row < registers().rows[i]; ++row)
    std::memcpy(registers().data[i][row], static_cast<const char*>(base) + row * stride, registers().row_bytes[i]);
}

inline void store(int i, void* base, int64_t stride) {
  for (int row = 0; row < registers().rows[i]; ++row)
    std::memcpy(static_cast<char*>(base) + row * stride, registers().data[i][row], registers().row_bytes[i]);
}

// to += signed bytes of a times unsigned bytes of b, four to a sum.
inline void dot_signed_unsigned(int to, int a, int b) {
  Registers& r = registers();
  demand(r.rows[to] == r.rows[a] && r.row_bytes[a] == 4 * r.rows[b] && r.row_bytes[to] == r.row_bytes[b]);
  for (int row = 0; row < r.rows[to]; ++row)
    for (int column = 0; column < r.row_bytes[to] / 4; ++column) {
      int32_t sum;
      std::memcpy(&sum, r.data[to][row] + 4 * column, 4);
      for (int k = 0; k < r.row_bytes[a]; ++k)
        sum += int8_t(r.data[a][row][k]) * int(r.data[b][k / 4][4 * column + k % 4]);
      std::memcpy(r.data[to][row] + 4 * column, &sum, 4);
    }
}

// Tiles know no subnormal numbers, neither as operands nor as results.
inline float flushed(float x) { return __builtin_fabsf(x) < FLT_MIN ? __builtin_copysignf(0, x) : x; }

inline float from_bf16(const uint8_t* at) {
  uint16_t high;
  std::memcpy(&high, at, 2);
  const uint32_t bits = uint32_t(high) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return flushed(x);
}

// to += pairs of bf16 of a times pairs of bf16 of b: even and odd elements in chains of their own, each a fused
// multiply-add after the other, then both together to the sum.
inline void dot_bf16(int to, int a, int b) {
  constexpr int kColumns = kRowBytes / 4;
  Registers& r = registers();
  demand(r.rows[to] == r.rows[a] && r.row_bytes[a] == 4 * r.rows[b] && r.row_bytes[to] == r.row_bytes[b]);
  const int columns = r.row_bytes[to] / 4;
  for (int row = 0; row < r.rows[to]; ++row) {
    float chains[2][kColumns] = {};
    for (int k = 0; k < r.rows[b]; ++k)
      for (int odd = 0; odd < 2; ++odd) {
        const float x = from_bf16(r.data[a][row] + 4 * k + 2 * odd);
        for (int column = 0; column < columns; ++column)
          chains[odd][column] =
              flushed(__builtin_fmaf(x, from_bf16(r.data[b][k] + 4 * column + 2 * odd), chains[odd][column]));
      }
    for (int column = 0; column < columns; ++column) {
      float sum;
      std::memcpy(&sum, r.data[to][row] + 4 * column, 4);
      sum = flushed(flushed(sum) + flushed(chains[0][column] + chains[1][column]));
      std::memcpy(r.data[to][row] + 4 * column, &sum, 4);
    }
  }
}

}  // namespace updraft::test::tiles

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) updraft::test::tiles::load_configuration(from)
#define _tile_release() updraft::test::tiles::release()
#define _tile_zero(i) updraft::test::tiles::zero(i)
#define _tile_loadd(i, base, stride) updraft::test::tiles::load(i, base, stride)
#define _tile_stored(i, base, stride) updraft::test::tiles::store(i, base, stride)
#define _tile_dpbsud(to, a, b) updraft::test::tiles::dot_signed_unsigned(to, a, b)
#define _tile_dpbf16ps(to, a, b) updraft::test::tiles::dot_bf16(to, a, b)
