// Integer products on tile registers (AMX) for many tokens; few tokens go to the AVX-512 VNNI table. The layouts are
// tiles already: a step of 64 columns of 16 rows is one line of each pair of a rank (8-bit; 4-bit weights are widened
// first), and 16 tokens of a group lie `group` bytes apart. Numerics: integer_kernels.h.
#include <immintrin.h>

#include <algorithm>

#include "compute/cpu/integer_kernels.h"
#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {
namespace {

constexpr int kTileRows = 16;
constexpr int kPairTokens = 2 * kTileRows;
constexpr int64_t kTokenBytes = kPanelRows * sizeof(int32_t);  // of a token's sums
// Columns that all tokens take in turn: 32 KiB of widened weights stay in L1 or close.
constexpr int64_t kBlockColumns = 1024;
// So few tokens are faster through vector registers. Measured from memory, one thread of Granite Rapids: 8 tokens,
// tiles 13.8 (int8) and 8.3 GB/s (int4), registers 17.2 and 16.2; 16 tokens on tiles 14.4 and 7.7.
constexpr int kFewTokens = 12, kFewTokensOfNibbles = 24;

struct TileConfiguration {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Registers: 0..3 sums of (16 tokens 0, 1) x (rows 0..15, 16..31 of the panel), 4 and 5 activations, 6 and 7 weights.
void configure(const QuantizedFormat& format) {
  const int64_t step = IntegerLayout::step_columns(format.group);
  TileConfiguration c;
  for (int i = 0; i < 8; ++i) {
    c.row_bytes[i] = uint16_t(i == 4 || i == 5 ? step : 64);
    c.rows[i] = uint8_t(i < 6 ? kTileRows : step / 4);
  }
  // GCC 12 believes that _tile_loadconfig reads eight bytes only, and would drop the stores to the rest.
  asm volatile("" : : "r"(&c) : "memory");
  _tile_loadconfig(&c);
}

void release() { _tile_release(); }

__m512 widen(const uint8_t* p, DType type) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return type == DType::kF16 ? _mm512_cvtph_ps(bits)
                             : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// What turns a group's integer sums into floats: of the panel's two halves of 16 rows, and of a pair's tokens.
struct Scaling {
  __m512 scales[2], offsets[2];
  alignas(64) float token_scales[kPairTokens];
  alignas(64) int32_t token_middles[kPairTokens];  // middle * sum of the token's integers
  alignas(64) float token_offsets[kPairTokens];    // scale * sum of the token's integers
};

// Where a product's parts lie, for one pair of tiles and some groups.
struct Pair {
  QuantizedFormat format;
  const uint8_t* headers = nullptr;  // of the first group, header_stride apart
  int64_t header_stride = 0;
  const uint8_t* weights = nullptr;  // of group 0: bytes, whatever the format, `strides` apart
  IntegerStrides strides;
  int64_t first_group = 0, groups = 0, last_columns = 0;
  IntegerActivations a;
  int tokens = 0;
  bool first = false;
  float* y = nullptr;
  // What to ask for: a few lines from ahead.begin on at every group into L2, and of streamed weights those so far
  // ahead.
  LinesAhead ahead;
  int64_t ahead_lines = 0;
  int64_t stream_bytes = 0;
};

template <int kBits, bool kOffsets>
inline __attribute__((always_inline)) void prepare(const Pair& p, int64_t g, Scaling& s) {
  const uint8_t* header = p.headers + g * p.header_stride;
  for (int half = 0; half < 2; ++half) {
    s.scales[half] = widen(header + 32 * half, p.format.scale_type);
    if (!kOffsets) continue;
    s.offsets[half] = widen(header + 64 + 32 * half, p.format.scale_type);
    if (p.format.offset == Offset::kPoint)
      s.offsets[half] = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(s.scales[half], s.offsets[half]));
  }
  const IntegerActivations a = p.a.at(g, 0);
  for (int t = 0; t < kPairTokens; t += 16) {
    const __m512 scales = _mm512_loadu_ps(a.scales + t);
    const __m512i sums = _mm512_loadu_si512(a.sums + t);
    _mm512_store_ps(s.token_scales + t, scales);
    if (kOffsets) {
      _mm512_store_ps(s.token_offsets + t, _mm512_mul_ps(scales, _mm512_cvtepi32_ps(sums)));
    } else {
      _mm512_store_si512(s.token_middles + t, _mm512_slli_epi32(sums, kBits - 1));
    }
  }
}

// y += the sums of one group [tokens, 32], scaled, for tokens [begin, begin + 4). Sums and y are read in one order and
// lie alike: a load never waits for a store to memory that only ends in the same twelve bits of address.
template <bool kOffsets>
inline __attribute__((always_inline)) void scale_four(const int32_t* sums, const Scaling& s, int begin, float* y) {
  sums += begin * kPanelRows;
  y += begin * kPanelRows;
  for (int i = 0; i < 4; ++i, sums += kPanelRows, y += kPanelRows) {
    const __m512 scale = _mm512_set1_ps(s.token_scales[begin + i]);
    __m512i sum[2] = {_mm512_load_si512(sums), _mm512_load_si512(sums + 16)};
    if (!kOffsets)
      for (__m512i& half : sum) half = _mm512_sub_epi32(half, _mm512_set1_epi32(s.token_middles[begin + i]));
    __m512 v[2];
    for (int half = 0; half < 2; ++half)
      v[half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[half]), _mm512_mul_ps(s.scales[half], scale),
                                _mm512_loadu_ps(y + half * 16));
    if (kOffsets)
      for (int half = 0; half < 2; ++half)
        v[half] = _mm512_fmadd_ps(s.offsets[half], _mm512_set1_ps(s.token_offsets[begin + i]), v[half]);
    _mm512_storeu_ps(y, v[0]);
    _mm512_storeu_ps(y + 16, v[1]);
  }
}

// The sums of a group leave the tiles for memory, and are scaled while the tiles multiply the next group.
template <int kTiles, int kBits, bool kOffsets>
void multiply_pair(const Pair p) {  // a copy, which no store through a pointer can change
  alignas(64) int32_t memory[2][kTiles * kTileRows * kPanelRows];
  int32_t *now = memory[0], *before = memory[1];
  const int tokens = (p.tokens + 3) / 4 * 4;
  if (p.first)
    for (int i = 0; i < tokens * kPanelRows; i += 16) _mm512_storeu_ps(p.y + i, _mm512_setzero_ps());
  const int64_t step = IntegerLayout::step_columns(p.format.group), stride = p.a.group;
  const int64_t a_stride = p.a.token_stride * p.a.group;
  const int8_t* a = p.a.integers;
  int64_t ahead = p.ahead.begin;
  Scaling scales;
  for (int64_t g = 0; g < p.groups; ++g, a += a_stride) {
    p.ahead.ask(ahead, ahead + p.ahead_lines);
    ahead += p.ahead_lines;
    const uint8_t* w = p.weights + p.strides.group_at(p.first_group + g);
    _tile_zero(0);
    _tile_zero(1);
    if (kTiles == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
    const int64_t columns = g + 1 == p.groups ? p.last_columns : p.format.group, steps = columns / step;
    int todo = g == 0 ? tokens : 0;  // the next token of the group before
    const int share = int((tokens + 16 * steps - 1) / (16 * steps)) * 4;
    const auto scale_some = [&]() __attribute__((always_inline)) {
      for (const int end = std::min(todo + share, tokens); todo < end; todo += 4)
        scale_four<kOffsets>(before, scales, todo, p.y);
    };
    for (int64_t s = 0; s < steps; ++s) {
      const uint8_t* weights = w + s * p.strides.rank;
      const int8_t* mine = a + s * step;
      if (p.stream_bytes > 0)
        for (int64_t i = 0; i < step * kPanelRows; i += 64) __builtin_prefetch(weights + p.stream_bytes + i, 0, 2);
      _tile_loadd(6, weights, p.strides.pair);
      _tile_loadd(4, mine, stride);
      _tile_dpbsud(0, 4, 6);
      scale_some();
      _tile_loadd(7, weights + 64, p.strides.pair);
      _tile_dpbsud(1, 4, 7);
      scale_some();
      if (kTiles == 2) {
        _tile_loadd(5, mine + kTileRows * stride, stride);
        _tile_dpbsud(2, 5, 6);
      }
      scale_some();
      if (kTiles == 2) _tile_dpbsud(3, 5, 7);
      scale_some();
    }
    _tile_stored(0, now, kTokenBytes);
    _tile_stored(1, now + 16, kTokenBytes);
    if (kTiles == 2) {
      _tile_stored(2, now + kTileRows * kPanelRows, kTokenBytes);
      _tile_stored(3, now + kTileRows * kPanelRows + 16, kTokenBytes);
    }
    prepare<kBits, kOffsets>(p, g, scales);
    std::swap(now, before);
  }
  for (int t = 0; t < tokens; t += 4) scale_four<kOffsets>(before, scales, t, p.y);
}

// 4-bit weights of one group as bytes, in order: pair i of a step holds quad i and, in the high nibbles, quad i + quads
// / 2.
void widen_group(const uint8_t* from, const IntegerStrides& strides, int64_t columns, int64_t step, uint8_t* to) {
  const __m512i mask = _mm512_set1_epi8(15);
  const int64_t pairs = step / 8, other_quads = pairs * IntegerStrides::kPairBytes;
  int64_t pair = 0;
  for (int64_t k = 0; k < columns; k += step, to += other_quads)
    for (int64_t i = 0; i < pairs; ++i, ++pair) {
      const uint8_t* line = from + strides.pair_at(pair);
      for (int half = 0; half < 2; ++half, line += 64, to += 64) {
        const __m512i both = _mm512_loadu_si512(line);
        _mm512_store_si512(to, _mm512_and_si512(both, mask));
        _mm512_store_si512(to + other_quads, _mm512_and_si512(_mm512_srli_epi16(both, 4), mask));
      }
    }
}

// Where those bytes lie.
IntegerStrides widened_strides(int group) {
  IntegerStrides s;
  s.pair = IntegerStrides::kPairBytes, s.rank = IntegerStrides::kRank * s.pair;
  s.group = s.run = group * kPanelRows;
  return s;
}

template <int kBits, bool kOffsets>
void multiply_tokens(Pair pair, int tokens) {
  for (; tokens > 0; tokens -= kPairTokens) {
    pair.tokens = std::min(kPairTokens, tokens);
    pair.tokens <= kTileRows ? multiply_pair<1, kBits, kOffsets>(pair) : multiply_pair<2, kBits, kOffsets>(pair);
    pair.a = pair.a.at(0, kPairTokens);
    pair.y += kPairTokens * kPanelRows;
    pair.ahead.begin += pair.groups * pair.ahead_lines;
  }
}

void multiply_block(const Pair& pair, int tokens) {
  const bool offsets = pair.format.offset != Offset::kNone;
  if (pair.format.bits == 8) {
    offsets ? multiply_tokens<8, true>(pair, tokens) : multiply_tokens<8, false>(pair, tokens);
  } else {
    offsets ? multiply_tokens<4, true>(pair, tokens) : multiply_tokens<4, false>(pair, tokens);
  }
}

// At most two products, the second one with weights that are in L2 by then.
void multiply_few(const IntegerProduct& p) {
  IntegerProduct part = p;
  const int parts = (p.tokens + kFewTokens - 1) / kFewTokens;
  for (int i = 0; i < parts; ++i) {
    const int begin = p.tokens * i / parts;
    part.tokens = p.tokens * (i + 1) / parts - begin;
    part.a = p.a.at(0, begin);
    part.y = p.y + begin * kPanelRows;
    integer_avx512vnni().multiply(part);
    part.near_bytes = part.far_bytes = 0;
  }
}

// Formula: y += scaled integer sums of a w^T.   Floor: 32 tokens, a panel and a group of 128: 8 products in 128 cycles;
// beside them 64 sums are scaled, 192 operations on two ports, and pass through L1 twice. Measured, one thread of a
// Granite Rapids class Xeon beside other load, 256 tokens, operands in L2, per cent of the int8 register peak (6.8
// TOP/s): int8 29, int4 25, with offsets 22 and 23; groups of 32: 10 and 9. A loop of nothing else took 312 cycles a
// group (41 %), 133 of them for the products alone. Guarded by tests/compute/integer_test.cc (== integer_generic()).
void multiply(const IntegerProduct& p) {
  if (p.tokens <= (p.format.bits == 4 ? kFewTokensOfNibbles : kFewTokens)) return multiply_few(p);
  alignas(64) uint8_t widened[kBlockColumns * kPanelRows];
  const bool nibbles = p.format.bits == 4;
  const int64_t block_groups = kBlockColumns / p.format.group;
  const int64_t pairs = (p.tokens + kPairTokens - 1) / kPairTokens;
  Pair pair;
  pair.format = p.format;
  pair.header_stride = p.strides.header;
  pair.weights = p.weights, pair.strides = p.strides;
  if (nibbles) pair.weights = widened, pair.strides = widened_strides(p.format.group);
  pair.ahead = p.ahead;
  pair.ahead_lines = (p.ahead.count + p.groups * pairs - 1) / (p.groups * pairs);
  if (p.far_bytes > 0 && !nibbles) pair.stream_bytes = p.near_bytes;
  for (int64_t g = 0; g < p.groups; g += block_groups) {
    pair.groups = std::min(block_groups, p.groups - g);
    pair.last_columns = g + pair.groups == p.groups ? p.last_columns : p.format.group;
    pair.headers = p.header(g);
    pair.first_group = nibbles ? 0 : p.first_group + g;
    pair.ahead.begin = p.ahead.begin + g * pairs * pair.ahead_lines;
    if (nibbles) {
      // What comes from memory waits there while a block is multiplied: the next one is asked for meanwhile.
      if (p.from_memory) {
        pair.ahead = {p.group(g + block_groups), p.strides};
        pair.ahead_lines = p.format.group / 4 / pairs;
      }
      for (int64_t i = 0; i < pair.groups; ++i)
        widen_group(p.group(g + i), p.strides, i + 1 == pair.groups ? pair.last_columns : p.format.group,
                    IntegerLayout::step_columns(p.format.group), widened + i * pair.strides.group);
      asm volatile("" : : "r"(widened) : "memory");  // GCC 12 does not know that tiles are read from memory
    }
    pair.a = p.a.at(g, 0);
    pair.first = p.first && g == 0;
    pair.y = p.y;
    multiply_block(pair, p.tokens);
  }
}

}  // namespace

const IntegerKernels& integer_amx() {
  static const IntegerKernels table = [] {
    IntegerKernels t = integer_avx512vnni();
    t.name = "amx";
    t.stream_tokens = 32;
    t.tile_tokens = 256;
    t.configure = configure;
    t.release = release;
    t.multiply = multiply;
    return t;
  }();
  return table;
}

}  // namespace updraft::compute::cpu
