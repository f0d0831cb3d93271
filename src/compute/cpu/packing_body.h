// Packing kernels: 32 rows as a file has them become a panel. All of it moves squares of 16 x 16 words of 32 bits (a
// word is an F32 or a pair of 16-bit elements), a square's sixteen columns becoming sixteen cache lines. Moves bits,
// rounds nothing.   Floor: the rows read and the panel written once.
//
// For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes.h"
#include "compute/cpu/unroll.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

constexpr int kSide = 16;  // words

#if defined(__AVX512F__)

struct Words {
  __m512i v;
  void store(void* p) const { _mm512_store_si512(p, v); }
};

// The lower (upper) halves of the words of a, then of b.
UPDRAFT_INLINE inline Words lower_halves(Words a, Words b) {
  const __m512i low =
      _mm512_cvtepi8_epi16(_mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38,
                                            40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62));
  return {_mm512_permutex2var_epi16(a.v, low, b.v)};
}
UPDRAFT_INLINE inline Words upper_halves(Words a, Words b) {
  const __m512i high =
      _mm512_cvtepi8_epi16(_mm256_setr_epi8(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39,
                                            41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63));
  return {_mm512_permutex2var_epi16(a.v, high, b.v)};
}

// out[c] = words [column + c] of the 16 rows, for four columns. A register takes four words of four rows that lie four
// apart; what is left are squares of 4 x 4 inside its quarters.
UPDRAFT_INLINE inline void four_columns(const char* from, int64_t row_bytes, int column, Words out[4]) {
  __m512i rows[4];
  unroll<4>([&](auto i) UPDRAFT_INLINE {
    const auto words = [&](int row) UPDRAFT_INLINE {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + row * row_bytes + 4 * column));
    };
    const __m512i first = _mm512_castsi128_si512(words(i));
    const __m512i two = _mm512_inserti32x4(first, words(i + 4), 1);
    rows[i] = _mm512_inserti32x4(_mm512_inserti32x4(two, words(i + 8), 2), words(i + 12), 3);
  });
  const __m512i a = _mm512_unpacklo_epi32(rows[0], rows[1]), b = _mm512_unpackhi_epi32(rows[0], rows[1]);
  const __m512i c = _mm512_unpacklo_epi32(rows[2], rows[3]), d = _mm512_unpackhi_epi32(rows[2], rows[3]);
  out[0].v = _mm512_unpacklo_epi64(a, c);
  out[1].v = _mm512_unpackhi_epi64(a, c);
  out[2].v = _mm512_unpacklo_epi64(b, d);
  out[3].v = _mm512_unpackhi_epi64(b, d);
}

#else

struct Words {
  uint32_t v[kSide];
  void store(void* p) const { std::memcpy(p, v, sizeof v); }
};

UPDRAFT_INLINE inline Words halves(const Words& a, const Words& b, int shift) {
  uint16_t out[2 * kSide];
  for (int i = 0; i < kSide; ++i) out[i] = uint16_t(a.v[i] >> shift);
  for (int i = 0; i < kSide; ++i) out[kSide + i] = uint16_t(b.v[i] >> shift);
  Words words;
  std::memcpy(words.v, out, sizeof out);
  return words;
}
UPDRAFT_INLINE inline Words lower_halves(const Words& a, const Words& b) { return halves(a, b, 0); }
UPDRAFT_INLINE inline Words upper_halves(const Words& a, const Words& b) { return halves(a, b, 16); }

#if defined(__AVX2__)

UPDRAFT_INLINE inline void four_columns(const char* from, int64_t row_bytes, int column, Words out[4]) {
  for (int row = 0; row < kSide; row += 4) {
    const auto words = [&](int i) UPDRAFT_INLINE {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + (row + i) * row_bytes + 4 * column));
    };
    const auto keep = [&](int i, __m128i v)
                          UPDRAFT_INLINE { _mm_storeu_si128(reinterpret_cast<__m128i*>(out[i].v + row), v); };
    const __m128i a = _mm_unpacklo_epi32(words(0), words(1)), b = _mm_unpackhi_epi32(words(0), words(1));
    const __m128i c = _mm_unpacklo_epi32(words(2), words(3)), d = _mm_unpackhi_epi32(words(2), words(3));
    keep(0, _mm_unpacklo_epi64(a, c));
    keep(1, _mm_unpackhi_epi64(a, c));
    keep(2, _mm_unpacklo_epi64(b, d));
    keep(3, _mm_unpackhi_epi64(b, d));
  }
}

#else

UPDRAFT_INLINE inline void four_columns(const char* from, int64_t row_bytes, int column, Words out[4]) {
  for (int row = 0; row < kSide; ++row) {
    uint32_t words[4];
    std::memcpy(words, from + row * row_bytes + 4 * column, sizeof words);
    for (int c = 0; c < 4; ++c) out[c].v[row] = words[c];
  }
}

#endif
#endif

// emit(c, upper 16 rows' column c, lower 16 rows' column c) for the 16 columns of 32 rows.
template <class Emit>
UPDRAFT_INLINE inline void each_column(const char* from, int64_t row_bytes, Emit&& emit) {
  for (int column = 0; column < kSide; column += 4) {
    Words above[4], below[4];
    four_columns(from, row_bytes, column, above);
    four_columns(from + kSide * row_bytes, row_bytes, column, below);
    for (int c = 0; c < 4; ++c) emit(column + c, above[c], below[c]);
  }
}

// square(from, row_bytes, first column, number of columns) for every 64 bytes of the rows; the last columns, where they
// are fewer, lie in a copy filled up with zeros.
template <class T, class Square>
UPDRAFT_INLINE inline void each_square(const T* from, int64_t columns, Square&& square) {
  constexpr int64_t kColumns = 64 / sizeof(T);
  const int64_t row_bytes = columns * int64_t(sizeof(T));
  int64_t k = 0;
  for (; k + kColumns <= columns; k += kColumns)
    square(reinterpret_cast<const char*>(from + k), row_bytes, k, kColumns);
  if (k == columns) return;
  T last[kPanelRows][kColumns] = {};
  for (int row = 0; row < kPanelRows; ++row)
    std::memcpy(last[row], from + row * columns + k, size_t(columns - k) * sizeof(T));
  square(reinterpret_cast<const char*>(last), 64, k, columns - k);
}

inline void pack_rows16(const uint16_t* from, int64_t columns, uint16_t* to) {
  each_square(from, columns, [&](const char* rows, int64_t row_bytes, int64_t k, int64_t count) UPDRAFT_INLINE {
    uint16_t* out = to + k * kPanelRows;
    each_column(rows, row_bytes, [&](int c, const Words& above, const Words& below) UPDRAFT_INLINE {
      if (2 * c < count) lower_halves(above, below).store(out + 2 * c * kPanelRows);
      if (2 * c + 1 < count) upper_halves(above, below).store(out + (2 * c + 1) * kPanelRows);
    });
  });
}

inline void pack_rows32(const uint32_t* from, int64_t columns, uint32_t* to) {
  each_square(from, columns, [&](const char* rows, int64_t row_bytes, int64_t k, int64_t count) UPDRAFT_INLINE {
    uint32_t* out = to + k * kPanelRows;
    each_column(rows, row_bytes, [&](int c, const Words& above, const Words& below) UPDRAFT_INLINE {
      if (c >= count) return;
      above.store(out + c * kPanelRows);
      below.store(out + c * kPanelRows + kSide);
    });
  });
}

inline void pack_pairs(const uint16_t* from, int64_t columns, uint16_t* to) {
  each_square(from, columns, [&](const char* rows, int64_t row_bytes, int64_t k, int64_t) UPDRAFT_INLINE {
    uint16_t* out = to + k * kPanelRows;  // two tiles of 16 rows
    each_column(rows, row_bytes, [&](int pair, const Words& above, const Words& below) UPDRAFT_INLINE {
      above.store(out + pair * 2 * kSide);
      below.store(out + (kSide + pair) * 2 * kSide);
    });
  });
}

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
