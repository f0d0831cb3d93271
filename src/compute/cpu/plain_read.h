// Reading memory and doing nothing with it: what bounds work that reads the same bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace updraft {
class ThreadTeam;
}

namespace updraft::compute::cpu {

struct ReadPattern {
  int streams = 1;        // sequential streams a thread reads at once: 1, 2, 4, 8 or 16
  bool prefetch = false;  // software prefetch
};
inline constexpr ReadPattern kReadPatterns[] = {{1, false}, {1, true},  {2, false}, {2, true},   {4, false},
                                                {4, true},  {8, false}, {8, true},  {16, false}, {16, true}};

// Every active member reads its own contiguous part of `bytes`, with the widest registers that this processor has.
// Returns bytes per second.
double read_pass(ThreadTeam& team, const char* memory, int64_t bytes, ReadPattern pattern);

// In that of the patterns which is the fastest here: the first pass tries them all, in turns.
class PlainRead {
 public:
  using Bytes = std::span<const char>;
  // One after the other; bytes per second.
  double pass(ThreadTeam& team, std::span<const Bytes> pieces);

 private:
  std::optional<ReadPattern> fastest_;
};

}  // namespace updraft::compute::cpu
