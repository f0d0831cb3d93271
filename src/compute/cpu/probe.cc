#include "compute/probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <iterator>
#include <vector>

#include "base/caches.h"
#include "base/system_memory.h"
#include "base/thread_team.h"
#include "compute/cpu/huge_memory.h"
#include "compute/cpu/instruction_set.h"
#include "compute/cpu/plain_read.h"
#include "compute/cpu/probe_kernels.h"

namespace updraft::compute {
namespace {

using Clock = std::chrono::steady_clock;
using cpu::HugeMemory;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int team_size(int threads) { return threads > 0 ? threads : available_processors(); }

int64_t round_down(int64_t value, int64_t step) { return value / step * step; }

// In slices of a fraction of a second, between which the caller is told.
void touch(ThreadTeam& team, char* memory, int64_t bytes, const std::function<void()>& tell) {
  constexpr int64_t kSlice = int64_t(256) << 20;
  for (int64_t begin = 0; begin < bytes; begin += kSlice) {
    const int64_t part = round_down(std::min(kSlice, bytes - begin) / team.size(), 4096);
    team.run([&](int member) { std::memset(memory + begin + part * member, 0, size_t(part)); });
    tell();
  }
}

// Peak of one kind: enough rounds for about 50 ms, best of five.
template <class Work>
double peak_per_second(int threads, Work work) {
  ThreadTeam team(threads);
  std::vector<int64_t> operations(size_t(threads) * 8);
  double best = 0;
  int64_t rounds = 1 << 12;
  for (int pass = 0; pass < 6; ++pass) {
    const Clock::time_point start = Clock::now();
    team.run([&](int member) { operations[size_t(member) * 8] = work(rounds); });
    const double seconds = seconds_since(start);
    int64_t total = 0;
    for (int member = 0; member < threads; ++member) total += operations[size_t(member) * 8];
    if (pass == 0) {
      rounds = std::max<int64_t>(1, int64_t(double(rounds) * 0.05 / std::max(seconds, 1e-6)));
    } else {
      best = std::max(best, double(total) / seconds);
    }
  }
  return best;
}

}  // namespace

std::string processor_name() { return cpu::processor_name(); }

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const cpu::InstructionSet& set : cpu::available_instruction_sets()) names.push_back(set.name);
  return names;
}

int64_t read_probe_bytes() { return std::max(int64_t(4) << 30, 4 * last_level_cache_bytes()); }

ReadBandwidth probe_read_bandwidth(int threads, const ProgressCallback& progress, int64_t bytes) {
  ThreadTeam team(team_size(threads));
  ReadBandwidth result;
  // Half of what is free at most: the machine may be holding a model.
  result.bytes = round_down(std::min(bytes > 0 ? bytes : read_probe_bytes(), system_memory().available_bytes / 2),
                            int64_t(2) << 20);
  Progress report{"measuring read bandwidth", 0, 2 * int64_t(std::size(cpu::kReadPatterns)) + 5, "passes"};
  const auto tell = [&] {
    if (progress) progress(report);
  };
  const auto step = [&] {
    ++report.done;
    ++result.passes;
    tell();
  };
  for (const bool huge : {false, true}) {
    const HugeMemory memory(result.bytes, "the read bandwidth probe", huge);
    touch(team, memory.as<char>(), result.bytes, tell);
    for (const cpu::ReadPattern pattern : cpu::kReadPatterns) {
      const double rate = cpu::read_pass(team, memory.as<char>(), result.bytes, pattern);
      result.patterns.push_back({pattern.streams, pattern.prefetch, huge, rate});
      step();
    }
    if (!huge) continue;
    // Five more passes of the best pattern: on a shared machine a single pass may have met a noisy neighbour.
    auto best = std::max_element(result.patterns.begin(), result.patterns.end(),
                                 [](const auto& a, const auto& b) { return a.bytes_per_second < b.bytes_per_second; });
    const bool again_here =
        best->huge_pages;  // the small pages are gone by now: repeat the best one that is still there
    if (!again_here)
      best = std::max_element(result.patterns.begin() + std::size(cpu::kReadPatterns), result.patterns.end(),
                              [](const auto& a, const auto& b) { return a.bytes_per_second < b.bytes_per_second; });
    for (int pass = 0; pass < 5; ++pass) {
      best->bytes_per_second = std::max(best->bytes_per_second, cpu::read_pass(team, memory.as<char>(), result.bytes,
                                                                               {best->streams, best->prefetch}));
      step();
    }
  }
  for (const ReadBandwidth::Pattern& pattern : result.patterns)
    result.bytes_per_second = std::max(result.bytes_per_second, pattern.bytes_per_second);
  return result;
}

std::vector<Peak> probe_peaks(int threads) {
  const int count = team_size(threads);
  std::vector<Peak> peaks;
  const cpu::ProbeKernels& kernels = cpu::probe_kernels();
  peaks.push_back({"F32 FMA", "FLOP/s", peak_per_second(count, [&](int64_t rounds) {
                     float sink = 0.5f;
                     return kernels.fused_multiply_add(rounds, &sink);
                   })});
#if defined(__x86_64__)
  const auto integer = [&](int64_t (*probe)(int64_t, int32_t*)) {
    return peak_per_second(count, [&](int64_t rounds) {
      int32_t sink = 1;
      return probe(rounds, &sink);
    });
  };
  const bool vnni = __builtin_cpu_supports("avx512vnni");
  peaks.push_back({"int8 VNNI", "OP/s", vnni ? integer(cpu::probe_int8_vnni) : 0});
  bool tiles = false;
  for (const cpu::InstructionSet& set : cpu::available_instruction_sets()) tiles = tiles || set.tiles != nullptr;
  peaks.push_back({"bf16 AMX", "FLOP/s", tiles ? integer(cpu::probe_bf16_amx) : 0});
  peaks.push_back({"int8 AMX", "OP/s", tiles ? integer(cpu::probe_int8_amx) : 0});
#endif
  return peaks;
}

MemoryRates probe_memory_rates(int threads) {
  ThreadTeam team(team_size(threads));
  const int64_t bytes = round_down(std::min(int64_t(1) << 30, system_memory().available_bytes / 4), int64_t(4) << 20);
  MemoryRates rates;
  const auto timed_touch = [&](const HugeMemory& memory) {
    const Clock::time_point start = Clock::now();
    touch(team, memory.as<char>(), bytes, [] {});
    return double(bytes) / seconds_since(start);
  };
  {
    const HugeMemory small(bytes, "the first-touch probe", false);
    rates.first_touch_bytes_per_second = timed_touch(small);
  }
  const HugeMemory from(bytes, "the copy probe"), to(bytes, "the copy probe");
  rates.first_touch_huge_bytes_per_second = timed_touch(from);
  touch(team, to.as<char>(), bytes, [] {});
  const int64_t part = round_down(bytes / team.size(), 4096);
  for (int pass = 0; pass < 3; ++pass) {
    const Clock::time_point start = Clock::now();
    team.run(
        [&](int member) { std::memcpy(to.as<char>() + part * member, from.as<char>() + part * member, size_t(part)); });
    rates.copy_bytes_per_second =
        std::max(rates.copy_bytes_per_second, double(part * team.size()) / seconds_since(start));
  }
  return rates;
}

}  // namespace updraft::compute
