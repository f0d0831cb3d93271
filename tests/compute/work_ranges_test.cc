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
    const int64_t items = int64_t(random() % 100), grain = 1 + int64_t(random() % 8);
    WorkRanges ranges(members);
    ranges.reset(items, grain);
    std::vector<int> given(size_t(items), 0);
    for (int left = members; left > 0;) {
      const WorkRanges::Piece piece = ranges.claim(int(random() % unsigned(members)));
      if (!piece) {
        --left;  // any member finds nothing only when nothing is left
        continue;
      }
      EXPECT_LE(piece.end - piece.begin, grain);
      for (int64_t item = piece.begin; item < piece.end; ++item) ++given[size_t(item)];
    }
    for (int64_t item = 0; item < items; ++item) EXPECT_EQ(given[size_t(item)], 1) << item << " of " << items;
  }
}

TEST(WorkRanges, EvenGrainLeavesNoMemberFarMoreThanItsShare) {
  EXPECT_EQ(even_grain(18, 2, 8), 1) << "pieces of 2 would give 10 and 8";
  EXPECT_EQ(even_grain(30, 2, 8), 3);
  EXPECT_EQ(even_grain(128, 2, 8), 8);
  EXPECT_EQ(even_grain(5, 9, 8), 1);
  std::mt19937 random(test::run_seed());
  for (int round = 0; round < 1000; ++round) {
    const int64_t items = 1 + int64_t(random() % 3000), members = 1 + int64_t(random() % 64);
    const int64_t most = 1 + int64_t(random() % 8), grain = even_grain(items, members, most);
    ASSERT_GE(grain, 1);
    ASSERT_LE(grain, most);
    const int64_t pieces = (items + grain - 1) / grain, least = (items + members - 1) / members;
    EXPECT_LE(double((pieces + members - 1) / members * grain), 1.02 * double(least)) << items << " for " << members;
  }
}

TEST(WorkRanges, OwnRangeFirstAndInOnePiece) {
  WorkRanges ranges(3);
  ranges.reset(18, 2);
  std::vector<int64_t> begins;
  for (int i = 0; i < 3; ++i) begins.push_back(ranges.claim(1).begin);
  EXPECT_EQ(begins, (std::vector<int64_t>{6, 8, 10}));
  EXPECT_EQ(ranges.claim(1).begin, 12) << "then the next member's";
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
