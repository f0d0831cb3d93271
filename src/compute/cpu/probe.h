// Probes: the peaks of this processor, measured now, with a given number of threads: what the fractions in every report
// are fractions of. A probe keeps one resource busy and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace updraft::compute::cpu {

enum class ProbeKind : uint8_t {
  kReadBandwidth,   // bytes/s: best pass over touched memory, over every access pattern
  kF32MultiplyAdd,  // operations/s, 2 per fused multiply-add, in registers
  kInt8Dot,         // operations/s, VNNI
  kTileBf16,        // operations/s, AMX, operands in registers
  kTileInt8,
  kFirstTouch,   // bytes/s: the first store to every page of fresh memory
  kCopy,         // bytes/s copied between touched memory
  kCopyToFresh,  // bytes/s copied into freshly mapped memory: the bound of a load
};

struct ProbeSettings {
  int threads = 1;
  int64_t bytes = int64_t(4) << 30;  // memory probes: of memory read or written; at least 4 x the last-level cache
  int passes = 5;                    // timed passes of the best pattern; others get one
  bool small_pages = true;           // also try 4 KiB pages
  std::string instruction_set = "";  // "" = the best
};

struct ProbeResult {
  bool present = false;  // false: this processor or kernel has no such thing
  double per_second = 0;
  std::string pattern;          // "2 streams, prefetch, 2 MiB pages"
  std::vector<double> samples;  // every timed pass, per second
};

// Throws Error when the memory cannot be had.
ProbeResult probe(ProbeKind kind, const ProbeSettings& settings);

// What the system reports; 0 when it does not.
int64_t last_level_cache_bytes();

}  // namespace updraft::compute::cpu
