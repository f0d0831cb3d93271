// Work shared so that each member's part lies in one piece: a member takes its own range from front to back, so that
// its reading is one stream that prefetching can run ahead in, and helps the others only when its own is done.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace updraft::compute::cpu {

class WorkRanges {
 public:
  explicit WorkRanges(int members) : ranges_(size_t(members)) {}

  // Items [0, items) in pieces of at most `most`; no member may be claiming.
  void reset(int64_t items, int64_t most) {
    most_ = most;
    const int64_t members = int64_t(ranges_.size());
    for (int64_t m = 0; m < members; ++m) {
      Range& range = ranges_[size_t(m)];
      range.next.store(items * m / members, std::memory_order_relaxed);
      range.end = items * (m + 1) / members;
    }
  }

  struct Piece {
    int64_t begin = 0, end = 0;
    explicit operator bool() const { return begin < end; }
  };
  // The next piece for this member; an empty one when none is left. Every item is given out once. A piece is half of
  // what its range has left, so that the last ones are single items and all members end together.
  Piece claim(int member) {
    for (size_t i = 0; i < ranges_.size(); ++i) {
      Range& range = ranges_[(size_t(member) + i) % ranges_.size()];
      int64_t begin = range.next.load(std::memory_order_relaxed);
      while (begin < range.end) {
        const int64_t end = begin + std::min((range.end - begin + 1) / 2, most_);
        if (range.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) return {begin, end};
      }
    }
    return {};
  }

 private:
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  int64_t most_ = 1;
  std::vector<Range> ranges_;
};

}  // namespace updraft::compute::cpu
