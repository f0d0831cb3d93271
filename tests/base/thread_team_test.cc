#include "base/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace updraft {
namespace {

TEST(ThreadTeam, EveryMemberRunsEveryPhaseOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadTeam team(threads);
    std::vector<int> counts(size_t(threads), 0);
    for (int phase = 1; phase <= 2000; ++phase) {
      team.run([&](int member) { ++counts[size_t(member)]; });
      for (int count : counts) ASSERT_EQ(count, phase);
    }
  }
}

TEST(ThreadTeam, OnlyTheFirstMembersTakePartWhenLimited) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadTeam team(threads);
    std::vector<int> counts(size_t(threads), 0), expected = counts;
    uint64_t random = 88172645463325252u;
    for (int phase = 1; phase <= 3000; ++phase) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      if (random % 3 == 0) team.limit(1 + int(random / 3 % uint64_t(threads)));
      for (int member = 0; member < team.active(); ++member) ++expected[size_t(member)];
      team.run([&](int member) { ++counts[size_t(member)]; });
      ASSERT_EQ(counts, expected) << threads << " threads, phase " << phase;
    }
    if (threads % 2 == 1) team.limit(1);  // ended while some sleep
  }
}

// Work as short as this is done before every member has come, and nobody waits for those who have not.
TEST(ThreadTeam, SharedWorkIsDoneByThoseWhoCome) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadTeam team(threads);
    std::vector<int> counts(size_t(threads), 0);
    int64_t missed = 0;
    for (int phase = 1; phase <= 3000; ++phase) {
      const std::vector<int> before = counts;
      const bool everyone = phase % 7 == 0;
      std::atomic<int> left{phase % 5}, taken{0};
      const auto body = [&](int member) {
        ++counts[size_t(member)];
        while (left.fetch_sub(1) > 0) ++taken;
      };
      everyone ? team.run(body) : team.share(body);
      ASSERT_EQ(taken.load(), phase % 5);
      ASSERT_EQ(counts[0], phase);
      for (size_t member = 0; member < counts.size(); ++member) {
        const int times = counts[member] - before[member];
        ASSERT_TRUE(times == 1 || (times == 0 && !everyone)) << times << " of member " << member;
        missed += times == 0;
      }
    }
    EXPECT_EQ(missed > 0, threads > 1);
  }
}

TEST(ThreadTeam, ParallelForCoversEveryItemOnce) {
  ThreadTeam team(3);
  for (int64_t items : {0, 1, 5, 1000, 1001}) {
    std::vector<std::atomic<int>> hits(static_cast<size_t>(items));
    team.parallel_for(items, 7, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ++hits[size_t(i)];
    });
    for (const auto& hit : hits) ASSERT_EQ(hit.load(), 1);
  }
}

#if defined(__x86_64__)
TEST(ThreadTeam, MembersKeepDenormalsAndTheCallersStateComesBack) {
  ThreadTeam team(2);
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040u);  // a host program flushes denormals
  std::atomic<int> wrong{0};
  team.run([&](int) {
    volatile float tiny = 1e-40f;
    if (tiny * 0.5f == 0.0f) ++wrong;
  });
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(_mm_getcsr() & 0x8040u, 0x8040u);
  _mm_setcsr(before);
}
#endif

TEST(AvailableProcessors, IsAtLeastOne) { EXPECT_GE(available_processors(), 1); }

}  // namespace
}  // namespace updraft
