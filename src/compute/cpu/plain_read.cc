#include "compute/cpu/plain_read.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <vector>

#include "base/thread_team.h"
#include "compute/cpu/probe_kernels.h"

namespace updraft::compute::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;                           // of every pattern, before one is chosen
constexpr int64_t kRoundBytes = int64_t(128) << 20;  // of one round, about

double read_all(ThreadTeam& team, std::span<const PlainRead::Bytes> pieces, ReadPattern pattern) {
  double bytes = 0, seconds = 0;
  for (const PlainRead::Bytes piece : pieces) {
    const double rate = read_pass(team, piece.data(), int64_t(piece.size()), pattern);
    if (rate <= 0) continue;  // too small to be cut in streams
    bytes += double(piece.size()), seconds += double(piece.size()) / rate;
  }
  return seconds > 0 ? bytes / seconds : 0;
}

}  // namespace

const ProbeKernels& probe_kernels() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bw") ? probe_avx512() : probe_avx2();
#else
  return probe_neon();
#endif
}

// Streams must not lie a power of two apart, or they meet in the same channels and banks of the memory at the same
// time.
double read_pass(ThreadTeam& team, const char* memory, int64_t bytes, ReadPattern pattern) {
  constexpr int64_t kLine = 64 * 16, kLinesApart = 37;  // a line of each of the most streams
  const ProbeKernels& kernels = probe_kernels();
  const int members = team.active();
  const int64_t even = bytes / members / kLine * kLine;
  const int64_t part = std::max(even - kLinesApart * kLine, std::min(even, kLine));
  std::vector<float> sinks(size_t(members) * 16);
  const Clock::time_point start = Clock::now();
  team.run([&](int member) {
    const char* begin = memory + part * member;
    sinks[size_t(member) * 16] =
        kernels.read(reinterpret_cast<const float*>(begin), part, pattern.streams, pattern.prefetch);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  volatile float keep = 0;
  for (float sink : sinks) keep = keep + sink;
  return double(part * members) / seconds;
}

double PlainRead::pass(ThreadTeam& team, std::span<const Bytes> pieces) {
  if (!fastest_) {
    // Each round goes on where the one before ended, so that no cache helps one pattern.
    std::vector<double> rates[std::size(kReadPatterns)];
    size_t next = 0;
    for (int round = 0; round < kRounds; ++round)
      for (size_t p = 0; p < std::size(kReadPatterns); ++p) {
        size_t bytes = 0, count = 0;
        while (next + count < pieces.size() && bytes < size_t(kRoundBytes)) bytes += pieces[next + count++].size();
        rates[p].push_back(read_all(team, pieces.subspan(next, count), kReadPatterns[p]));
        next = next + count < pieces.size() ? next + count : 0;
      }
    double best = -1;
    for (size_t p = 0; p < std::size(kReadPatterns); ++p) {
      std::nth_element(rates[p].begin(), rates[p].begin() + kRounds / 2, rates[p].end());
      if (const double median = rates[p][kRounds / 2]; median > best) best = median, fastest_ = kReadPatterns[p];
    }
  }
  return read_all(team, pieces, *fastest_);
}

}  // namespace updraft::compute::cpu
