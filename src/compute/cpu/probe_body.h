// The probes' loops in Lanes; included by probe_<isa>.cc.
#pragma once

#include "compute/cpu/lanes.h"
#include "compute/cpu/probe_kernels.h"
#include "compute/cpu/unroll.h"

namespace updraft::compute::cpu::UPDRAFT_ISA {

template <int kStreams, bool kPrefetch>
float read_streams(const float* begin, int64_t bytes) {
  constexpr int64_t kPrefetchBytes = kStreams > 8 ? 1024 : 2048;  // of each stream
  const int64_t lines = bytes / (kStreams * 64);
  // Several accumulators: the adder's latency must not be what is measured.
  constexpr int kUnroll = kStreams >= 8 ? 1 : 8 / kStreams, kSums = 8;
  Lanes sums[kSums];
  unroll<kSums>([&](auto i) { sums[i] = Lanes::zero(); });
  int64_t line = 0;
  for (; line + kUnroll <= lines; line += kUnroll) {
    unroll<kStreams>([&](auto s) {
      const float* at = begin + (int64_t(s.value) * lines + line) * 16;
      unroll<kUnroll>([&](auto u) {
        if constexpr (kPrefetch)
          __builtin_prefetch(reinterpret_cast<const char*>(at) + u.value * 64 + kPrefetchBytes, 0, 3);
        constexpr int i = (s.value * kUnroll + u.value) % kSums;
        sums[i] = sums[i] + Lanes::load(at + u.value * 16);
      });
    });
  }
  for (; line < lines; ++line)
    for (int s = 0; s < kStreams; ++s) sums[0] = sums[0] + Lanes::load(begin + (s * lines + line) * 16);
  Lanes total = Lanes::zero();
  unroll<kSums>([&](auto i) { total = total + sums[i]; });
  return sum(total);
}

template <bool kPrefetch>
float read_pieces(const float* begin, int64_t bytes, int streams) {
  switch (streams) {
    case 1:
      return read_streams<1, kPrefetch>(begin, bytes);
    case 2:
      return read_streams<2, kPrefetch>(begin, bytes);
    case 4:
      return read_streams<4, kPrefetch>(begin, bytes);
    case 8:
      return read_streams<8, kPrefetch>(begin, bytes);
    default:
      return read_streams<16, kPrefetch>(begin, bytes);
  }
}

inline float probe_read(const float* begin, int64_t bytes, int streams, bool prefetch) {
  return prefetch ? read_pieces<true>(begin, bytes, streams) : read_pieces<false>(begin, bytes, streams);
}

// kChains independent chains: more than two pipes times four cycles of latency on every machine so far.
#if defined(__AVX512F__)
constexpr int kChains = 12;
#else
constexpr int kChains = 6;  // a Lanes is two or four registers here
#endif

inline int64_t probe_fused_multiply_add(int64_t rounds, float* sink) {
  Lanes sums[kChains];
  unroll<kChains>([&](auto i) { sums[i] = Lanes::broadcast(float(i.value)); });
  const Lanes a = Lanes::broadcast(*sink), b = Lanes::broadcast(1 - *sink);
  for (int64_t round = 0; round < rounds; ++round) {
    unroll<4>([&](auto) { unroll<kChains>([&](auto i) { sums[i] = fma(sums[i], a, b); }); });
  }
  Lanes total = Lanes::zero();
  unroll<kChains>([&](auto i) { total = total + sums[i]; });
  *sink = sum(total);
  return rounds * 4 * kChains * kLanes * 2;
}

inline constexpr ProbeKernels kProbeKernels = {probe_read, probe_fused_multiply_add};

}  // namespace updraft::compute::cpu::UPDRAFT_ISA
