// Work shared so that each member's part lies in one piece: a member takes its own range from front to back, so that
// its reading is one stream that prefetching can run ahead in, and helps the others only when its own is done.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace updraft::compute::cpu {

// Items that one piece should hold, at most `most`: every member finds a few pieces, so that all end together, and no
// member has over 2 % more to do than it must.
inline int64_t even_grain(int64_t items, int64_t members, int64_t most) {
  constexpr int64_t kPiecesAMember = 4;
  const auto largest_share = [&](int64_t grain) {
    const int64_t pieces = (items + grain - 1) / grain;
    return (pieces + members - 1) / members * grain;
  };
  int64_t grain = std::clamp<int64_t>(items / (members * kPiecesAMember), 1, most);
  while (grain > 1 && largest_share(grain) * 50 > largest_share(1) * 51) --grain;
  return grain;
}

class WorkRanges {
 public:
  explicit WorkRanges(int members) : ranges_(size_t(members)) {}

  // Items [0, items) in pieces of `grain`; no member may be claiming.
  void reset(int64_t items, int64_t grain) {
    grain_ = grain;
    const int64_t pieces = (items + grain - 1) / grain, members = int64_t(ranges_.size());
    for (int64_t m = 0; m < members; ++m) {
      Range& range = ranges_[size_t(m)];
      range.next.store(std::min(pieces * m / members * grain, items), std::memory_order_relaxed);
      range.end = std::min(pieces * (m + 1) / members * grain, items);
    }
  }

  struct Piece {
    int64_t begin = 0, end = 0;
    explicit operator bool() const { return begin < end; }
  };
  // The next piece for this member; an empty one when none is left. Every item is given out once.
  Piece claim(int member) {
    for (size_t i = 0; i < ranges_.size(); ++i) {
      Range& range = ranges_[(size_t(member) + i) % ranges_.size()];
      if (range.next.load(std::memory_order_relaxed) >= range.end) continue;
      const int64_t begin = range.next.fetch_add(grain_, std::memory_order_relaxed);
      if (begin < range.end) return {begin, std::min(begin + grain_, range.end)};
    }
    return {};
  }

 private:
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  int64_t grain_ = 1;
  std::vector<Range> ranges_;
};

}  // namespace updraft::compute::cpu
