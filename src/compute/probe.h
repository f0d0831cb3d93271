// Probes: what a machine can do at most, measured in this process. The fractions that bench and doctor print are
// fractions of these. Each machine defines its probes in its own folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/progress.h"

namespace updraft::compute {

struct ReadBandwidth {
  struct Pattern {
    int streams = 1;          // sequential streams a thread reads at once
    bool prefetch = false;    // software prefetch
    bool huge_pages = false;  // 2 MiB pages asked for
    double bytes_per_second = 0;
  };
  double bytes_per_second = 0;  // the best of every pass over every pattern
  int64_t bytes = 0;            // memory read by one pass
  int passes = 0;
  std::vector<Pattern> patterns;  // best pass of each
};

// max(4 GiB, 4 x last-level cache): no cache holds much of it.
int64_t read_probe_bytes();
// The best of at least five passes over read_probe_bytes() of touched memory (less, and `bytes` says so, when the
// machine has not that much left), over every access pattern the kernels use. Takes a few seconds. threads 0: all.
// bytes > 0: that much instead, for a quick look.
ReadBandwidth probe_read_bandwidth(int threads, const ProgressCallback& progress = {}, int64_t bytes = 0);

struct Peak {
  std::string name;       // "F32 FMA", "int8 VNNI", "bf16 AMX", "int8 AMX"
  std::string unit;       // "FLOP/s" or "OP/s"; a multiply-add counts as two
  double per_second = 0;  // operands in registers; 0: this processor has none
};
std::vector<Peak> probe_peaks(int threads);

struct MemoryRates {
  double first_touch_bytes_per_second = 0;       // 4 KiB pages, all threads
  double first_touch_huge_bytes_per_second = 0;  // 2 MiB pages asked for
  double copy_bytes_per_second = 0;              // into memory already touched; bytes copied, not moved
};
MemoryRates probe_memory_rates(int threads);

std::string processor_name();
std::vector<std::string> instruction_sets();  // that this process can use, slowest first; empty: too old a processor

}  // namespace updraft::compute
