// Matrix products on the fused multiply-add path, written once in Lanes. Every output element is one chain of fused
// multiply-adds over k per block of kBlock, the blocks' sums added in order: the same in stream() and in tile(), for
// every number of tokens and every instruction set. Guarded by tests/compute (against `reference`, and == between
// paths).
//
// For kernels_<isa>.cc only.
#pragma once

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes.h"
#include "compute/cpu/packing_body.h"
#include "compute/cpu/unroll.h"
#include "compute/cpu/vector_math.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

// Registers decide the tile: accumulators + weights + one broadcast activation must fit.
#if defined(__AVX512F__)
constexpr int kTileTokens = 12;  // 2 x 12 accumulators, 2 weights, 1 activation: 27 of 32
constexpr int panel_halves(int) { return 2; }
#elif defined(__AVX2__)
constexpr int kTileTokens = 6;  // 1 x 6 x 2 accumulators, 2 weights, 1 activation: 15 of 16
constexpr int panel_halves(int tokens) { return tokens <= 2 ? 2 : 1; }
#else
constexpr int kTileTokens = 6;  // 1 x 6 x 4 accumulators, 4 weights, 1 activation: 29 of 32
constexpr int panel_halves(int tokens) { return tokens <= 2 ? 2 : 1; }
#endif

// Bytes that stream() asks for ahead of its loads: about a microsecond of one core's share of the memory.
constexpr int64_t kPrefetchBytes = 4096;

UPDRAFT_INLINE inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }

// y[t][half * 16 ...] = (first ? 0 : y) + one chain over `block` values of k, for Halves x 16 of the panel's 32 rows.
template <class T, int Tokens, int Halves, bool Prefetch>
UPDRAFT_INLINE inline void chain(const T* w, int64_t block, const float* x, bool first, float* y) {
  Lanes sums[Halves * Tokens];
  unroll<Halves * Tokens>([&](auto i) UPDRAFT_INLINE { sums[i] = Lanes::zero(); });
  for (int64_t k = 0; k < block; ++k) {
    Lanes weights[Halves];
    unroll<Halves>([&](auto h) UPDRAFT_INLINE {
      weights[h] = Lanes::load(w + 16 * h);
      if constexpr (Prefetch && (sizeof(T) == 4 || h == 0))
        prefetch(reinterpret_cast<const char*>(w + 16 * h) + kPrefetchBytes);
    });
    unroll<Tokens>([&](auto t) UPDRAFT_INLINE {
      const Lanes activation = Lanes::broadcast(x[t]);
      unroll<Halves>([&](auto h)
                         UPDRAFT_INLINE { sums[h * Tokens + t] = fma(weights[h], activation, sums[h * Tokens + t]); });
    });
    w += kPanelRows;
    x += Tokens;
  }
  unroll<Tokens>([&](auto t) UPDRAFT_INLINE {
    unroll<Halves>([&](auto h) UPDRAFT_INLINE {
      float* out = y + t * kPanelRows + 16 * h;
      const Lanes sum = sums[h * Tokens + t];
      (first ? sum : Lanes::load(out) + sum).store(out);
    });
  });
}

template <class T, int Tokens, bool Prefetch>
UPDRAFT_INLINE inline void chains(const T* w, int64_t block, const float* x, bool first, float* y) {
  constexpr int kHalves = panel_halves(Tokens);
  chain<T, Tokens, kHalves, Prefetch>(w, block, x, first, y);
  if constexpr (kHalves == 1) chain<T, Tokens, 1, false>(w + 16, block, x, first, y + 16);
}

template <int Tokens>
void tile_of(const float* w, int64_t block, const float* x, bool first, float* y) {
  chains<float, Tokens, false>(w, block, x, first, y);
}

template <class T, int Tokens>
void stream_of(const T* panel, int64_t columns, const float* x, float* y) {
  for (int64_t k = 0; k < columns; k += kBlock) {
    const int64_t block = columns - k < kBlock ? columns - k : kBlock;
    chains<T, Tokens, true>(panel + k * kPanelRows, block, x + k * Tokens, k == 0, y);
  }
}

// Calls f(Index<tokens>) for a number of tokens known only at run time.
template <int Tokens = 1, class F>
UPDRAFT_INLINE inline void with_tokens(int tokens, F&& f) {
  if constexpr (Tokens < kTileTokens) {
    if (tokens != Tokens) return with_tokens<Tokens + 1>(tokens, f);
  }
  f(Index<Tokens>());
}

// y[tokens, 32] += w[block, 32]^T x[block, tokens].   Layouts: see kernels.h. Floor: 64 tokens flop per k at 2 x 16
// multiply-adds a cycle. Measured with 2 threads of a Granite Rapids class Xeon, gate|up of Mistral-7B, F16, 256 rows:
// 363 GFLOP/s with AVX-512, where the peak measured earlier that day was 454 (80 %). down with AVX2: 176, no AVX2 peak
// measured. Guarded by tests/compute/linear_test.cc.
inline void tile(const float* w, int64_t block, const float* x, int tokens, bool first, float* y) {
  with_tokens(tokens, [&](auto n) { tile_of<n.value>(w, block, x, first, y); });
}

// y[tokens, 32] = panel[columns, 32]^T x[columns, tokens].   Floor: 32 columns weights read once from memory. Measured
// with 2 threads of Granite Rapids on down of Mistral-7B, one row: 32.3 (F16) and 31.8 (BF16) GB/s with AVX-512,
// 33.7 with AVX2, where the read probe had found 32.8 minutes before. Guarded by tests/compute/linear_test.cc.
template <class T>
void stream(const T* panel, int64_t columns, const float* x, int tokens, float* y) {
  with_tokens(tokens, [&](auto n) { stream_of<T, n.value>(panel, columns, x, y); });
}

template <class From, class To>
void convert_as(const void* in, void* out, int64_t count) {
  const From* from = static_cast<const From*>(in);
  To* to = static_cast<To*>(out);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Lanes::load(from + i).store(to + i);
  if (i == count) return;
  From last_in[kLanes] = {};
  To last_out[kLanes];
  std::memcpy(last_in, from + i, size_t(count - i) * sizeof(From));
  Lanes::load(last_in).store(last_out);
  std::memcpy(to + i, last_out, size_t(count - i) * sizeof(To));
}

template <class From>
void convert_from(const void* in, DType to, void* out, int64_t count) {
  switch (to) {
    case DType::kF32:
      return convert_as<From, float>(in, out, count);
    case DType::kF16:
      return convert_as<From, half_t>(in, out, count);
    case DType::kBF16:
      return convert_as<From, bfloat16_t>(in, out, count);
  }
}

inline void convert(DType from, const void* in, DType to, void* out, int64_t count) {
  switch (from) {
    case DType::kF32:
      return convert_from<float>(in, to, out, count);
    case DType::kF16:
      return convert_from<half_t>(in, to, out, count);
    case DType::kBF16:
      return convert_from<bfloat16_t>(in, to, out, count);
  }
}

inline void norm_row(const float* x, const float* weight, float epsilon, int64_t columns, float* out) {
  if (weight == nullptr) {
    std::memcpy(out, x, size_t(columns) * sizeof(float));
  } else {
    rms_norm(x, weight, epsilon, columns, out);
  }
}

inline void split_row(const float* x, int64_t columns, int64_t padded_columns, int terms, int64_t stride,
                      int64_t piece_stride, bfloat16_t* out) {
  for (int64_t k = 0; k < padded_columns; k += kLanes) {
    const int64_t left = columns - k;
    Lanes rest = left >= kLanes ? Lanes::load(x + k) : left > 0 ? Lanes::load_first(x + k, int(left)) : Lanes::zero();
    bfloat16_t* place = out + (k / 32) * piece_stride + k % 32;
    for (int term = 0; term < terms; ++term) {
      rest.store(place + term * stride);
      rest = rest - Lanes::load(place + term * stride);  // exact: the term is the upper bits of rest
    }
  }
}

// f(lanes of the row's first 16 k, how many of them count, offset in the row)
template <class F>
UPDRAFT_INLINE inline void each_half(int count, F&& f) {
  for (int begin = 0; begin < count; begin += kLanes) f(begin, count - begin < kLanes ? count - begin : kLanes);
}

UPDRAFT_INLINE inline Lanes with_bias(const float* y, const float* bias, int begin) {
  return bias == nullptr ? Lanes::load(y + begin) : Lanes::load(y + begin) + Lanes::load(bias + begin);
}

inline void store(const float* y, int64_t tokens, int count, const float* bias, float* out, int64_t stride) {
  for (int64_t t = 0; t < tokens; ++t, y += kPanelRows, out += stride)
    each_half(count, [&](int begin, int n) { with_bias(y, bias, begin).store_first(out + begin, n); });
}

inline void add(const float* y, int64_t tokens, int count, const float* bias, float* out, int64_t stride) {
  for (int64_t t = 0; t < tokens; ++t, y += kPanelRows, out += stride)
    each_half(count, [&](int begin, int n) {
      (Lanes::load_first(out + begin, n) + with_bias(y, bias, begin)).store_first(out + begin, n);
    });
}

inline void gated(const float* gate, const float* up, int64_t tokens, int count, const float* gate_bias,
                  const float* up_bias, float* out, int64_t stride) {
  for (int64_t t = 0; t < tokens; ++t, gate += kPanelRows, up += kPanelRows, out += stride)
    each_half(count, [&](int begin, int n) {
      (silu(with_bias(gate, gate_bias, begin)) * with_bias(up, up_bias, begin)).store_first(out + begin, n);
    });
}

constexpr LinearKernels kLinearKernels = {
    .tile_tokens = kTileTokens,
    .tile = tile,
    .stream_f32 = stream<float>,
    .stream_f16 = stream<half_t>,
    .stream_bf16 = stream<bfloat16_t>,
    .convert = convert,
    .pack_rows16 = pack_rows16,
    .pack_rows32 = pack_rows32,
    .pack_pairs = pack_pairs,
    .norm_row = norm_row,
    .split_row = split_row,
    .store = store,
    .add = add,
    .gated = gated,
};

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
