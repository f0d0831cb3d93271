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
#include "compute/cpu/prefetch_distance.h"
#include "compute/cpu/unroll.h"
#include "compute/cpu/vector_math.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

// Registers decide the tile: accumulators + weights + one broadcast activation must fit.
#if defined(__AVX512F__)
constexpr int kTileTokens = 12;  // 2 x 12 accumulators, 2 weights, 1 activation: 27 of 32
constexpr int panel_halves(int) { return 2; }
constexpr int stream_panels(int tokens) { return tokens <= 3 ? 4 : tokens <= 6 ? 2 : 1; }  // at most 24 accumulators
#elif defined(__AVX2__)
constexpr int kTileTokens = 6;  // 1 x 6 x 2 accumulators, 2 weights, 1 activation: 15 of 16
constexpr int panel_halves(int tokens) { return tokens <= 2 ? 2 : 1; }
constexpr int stream_panels(int tokens) { return tokens == 1 ? 2 : 1; }
#else
constexpr int kTileTokens = 6;  // 1 x 6 x 4 accumulators, 4 weights, 1 activation: 29 of 32
constexpr int panel_halves(int tokens) { return tokens <= 2 ? 2 : 1; }
constexpr int stream_panels(int tokens) { return tokens == 1 ? 2 : 1; }
#endif

// y[panel][t][half * 16 ...] = (first ? 0 : y) + one chain over `block` values of k, for Halves x 16 of 32 rows of each
// of some panels, from w[panel] on. Ahead: weights come from memory and are asked for, as many streams as there are
// panels.
template <class T, int Tokens, int Halves, int Panels, bool Ahead>
UPDRAFT_INLINE inline void chain(const T* const* w, int64_t block, const float* x, bool first, float* y,
                                 int64_t y_stride) {
  constexpr int64_t kStep = kPanelRows * sizeof(T), kLine = 64;
  Lanes sums[Panels][Halves * Tokens];
  const char* place[Panels];
  unroll<Panels>([&](auto p) UPDRAFT_INLINE {
    unroll<Halves * Tokens>([&](auto i) UPDRAFT_INLINE { sums[p][i] = Lanes::zero(); });
    place[p] = reinterpret_cast<const char*>(w[p]);
  });
  for (int64_t k = 0; k < block; ++k) {
    unroll<Panels>([&](auto p) UPDRAFT_INLINE {
      const T* here = reinterpret_cast<const T*>(place[p] + k * kStep);
      if constexpr (Ahead)
        unroll<int(kStep / kLine)>([&](auto line) UPDRAFT_INLINE {
          __builtin_prefetch(place[p] + k * kStep + line * kLine + kNearBytes / Panels, 0, 3);
          __builtin_prefetch(place[p] + k * kStep + line * kLine + kFarBytes / Panels, 0, 2);
        });
      Lanes weights[Halves];
      unroll<Halves>([&](auto h) UPDRAFT_INLINE { weights[h] = Lanes::load(here + 16 * h); });
      unroll<Tokens>([&](auto t) UPDRAFT_INLINE {
        const Lanes activation = Lanes::broadcast(x[t]);
        unroll<Halves>([&](auto h) UPDRAFT_INLINE {
          sums[p][h * Tokens + t] = fma(weights[h], activation, sums[p][h * Tokens + t]);
        });
      });
    });
    x += Tokens;
  }
  unroll<Panels>([&](auto p) UPDRAFT_INLINE {
    unroll<Tokens>([&](auto t) UPDRAFT_INLINE {
      unroll<Halves>([&](auto h) UPDRAFT_INLINE {
        float* out = y + p * y_stride + t * kPanelRows + 16 * h;
        const Lanes sum = sums[p][h * Tokens + t];
        (first ? sum : Lanes::load(out) + sum).store(out);
      });
    });
  });
}

template <class T, int Tokens, int Panels, bool Ahead>
UPDRAFT_INLINE inline void chains(const T* const* w, int64_t block, const float* x, bool first, float* y,
                                  int64_t y_stride) {
  constexpr int kHalves = panel_halves(Tokens);
  chain<T, Tokens, kHalves, Panels, Ahead>(w, block, x, first, y, y_stride);
  if constexpr (kHalves == 1) {
    const T* others[Panels];
    unroll<Panels>([&](auto p) UPDRAFT_INLINE { others[p] = w[p] + 16; });
    chain<T, Tokens, 1, Panels, false>(others, block, x, first, y + 16, y_stride);
  }
}

template <int Tokens>
void tile_of(const float* w, int64_t block, const float* x, bool first, float* y) {
  chains<float, Tokens, 1, false>(&w, block, x, first, y, 0);
}

template <class T, int Tokens, int Panels, bool Ahead>
UPDRAFT_INLINE inline void stream_some(const StreamProduct& p, int from) {
  const T* w[Panels];
  for (int64_t k = 0; k < p.columns; k += kBlock) {
    const int64_t block = p.columns - k < kBlock ? p.columns - k : kBlock;
    unroll<Panels>([&](auto i) UPDRAFT_INLINE { w[i] = static_cast<const T*>(p.panels[from + i]) + k * kPanelRows; });
    chains<T, Tokens, Panels, Ahead>(w, block, p.x + k * Tokens, p.first && k == 0, p.y + from * p.y_stride,
                                     p.y_stride);
  }
}

template <class T, int Tokens, bool Ahead>
void stream_from_memory(const StreamProduct& p) {
  constexpr int kTogether = stream_panels(Tokens);
  int i = 0;
  if constexpr (kTogether > 1)
    for (; i + kTogether <= p.count; i += kTogether) stream_some<T, Tokens, kTogether, Ahead>(p, i);
  for (; i < p.count; ++i) stream_some<T, Tokens, 1, Ahead>(p, i);
}

template <class T, int Tokens>
void stream_of(const StreamProduct& p) {
  if (!p.from_memory) {
    for (int i = 0; i < p.count; ++i) stream_some<T, Tokens, 1, false>(p, i);
  } else if (p.ask_ahead) {
    stream_from_memory<T, Tokens, true>(p);
  } else {
    stream_from_memory<T, Tokens, false>(p);
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

// Floor: 32 columns weights read once from memory. Measured: prefetch_distance.h. Guarded by
// tests/compute/linear_test.cc.
inline void stream(DType type, const StreamProduct& p) {
  with_tokens(p.tokens, [&](auto n) {
    switch (type) {
      case DType::kF32:
        return stream_of<float, n.value>(p);
      case DType::kF16:
        return stream_of<half_t, n.value>(p);
      case DType::kBF16:
        return stream_of<bfloat16_t, n.value>(p);
    }
  });
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
    .stream = stream,
    .stream_panels = [](int tokens) { return stream_panels(tokens); },
    .convert = convert,
    .pack_rows16 = pack_rows16,
    .pack_rows32 = pack_rows32,
    .pack_pairs = pack_pairs,
    .pack_integers = pack_integers,
    .norm_row = norm_row,
    .split_row = split_row,
    .store = store,
    .add = add,
    .gated = gated,
};

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
