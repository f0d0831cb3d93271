// Every item is given out exactly once, a member's own range first and in order, whatever the sizes and the threads.
#include "compute/cpu/work_ranges.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/random.h"

namespace updraft::compute::cpu {
namespace {

TEST(WorkRanges, EveryItemOnceForRandomSizes) {
  std::mt19937 random(test::run_seed());
  for (int round = 0; round < 200; ++round) {
    const int members = 1 + int(random() % 9);
    const int64_t items = int64_t(random() % 100), most = 1 + int64_t(random() % 8);
    WorkRanges ranges(members);
    ranges.reset(items, most);
    std::vector<int> given(size_t(items), 0);
    for (int left = members; left > 0;) {
      const WorkRanges::Piece piece = ranges.claim(int(random() % unsigned(members)));
      if (!piece) {
        --left;  // any member finds nothing only when nothing is left
        continue;
      }
      EXPECT_LE(piece.end - piece.begin, most);
      for (int64_t item = piece.begin; item < piece.end; ++item) ++given[size_t(item)];
    }
    for (int64_t item = 0; item < items; ++item) EXPECT_EQ(given[size_t(item)], 1) << item << " of " << items;
  }
}

TEST(WorkRanges, OwnRangeFirstInPiecesThatBecomeSmall) {
  WorkRanges ranges(3);
  ranges.reset(27, 4);
  std::vector<int64_t> begins;
  for (int i = 0; i < 5; ++i) begins.push_back(ranges.claim(1).begin);
  EXPECT_EQ(begins, (std::vector<int64_t>{9, 13, 16, 17, 18})) << "of 9 to 17, then the next member's";
}

TEST(WorkRanges, EveryItemOnceWithThreadsAgainAndAgain) {
  constexpr int kMembers = 4;
  WorkRanges ranges(kMembers);
  for (int64_t items : {1, 3, 7, 1000, 9999}) {
    ranges.reset(items, 3);
    std::vector<std::atomic<int>> given(static_cast<size_t>(items));
    std::vector<std::thread> threads;
    for (int member = 0; member < kMembers; ++member)
      threads.emplace_back([&, member] {
        while (const WorkRanges::Piece piece = ranges.claim(member))
          for (int64_t item = piece.begin; item < piece.end; ++item) ++given[size_t(item)];
      });
    for (std::thread& thread : threads) thread.join();
    for (auto& count : given) EXPECT_EQ(count.load(), 1);
  }
}

}  // namespace
}  // namespace updraft::compute::cpu
