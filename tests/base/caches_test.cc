#include "base/caches.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_folder.h"

namespace updraft {
namespace {

class CachesTest : public testing::Test {
 protected:
  void cache(int processor, int index, const char* type, int level, const char* size, const char* shared_by) {
    const auto folder = folder_.path() / fmt::format("cpu{}/cache/index{}", processor, index);
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "type") << type << "\n";
    std::ofstream(folder / "level") << level << "\n";
    std::ofstream(folder / "size") << size << "\n";
    std::ofstream(folder / "shared_cpu_list") << shared_by << "\n";
  }
  int64_t bytes(const std::vector<int>& processors) { return last_level_cache_bytes(processors, folder_.path()); }

  test::TemporaryFolder folder_;
};

TEST_F(CachesTest, ACacheThatProcessorsShareCountsOnce) {
  for (int processor : {0, 1, 2}) {
    cache(processor, 0, "Data", 1, "32K", fmt::to_string(processor).c_str());
    cache(processor, 1, "Instruction", 1, "32K", fmt::to_string(processor).c_str());
    cache(processor, 2, "Unified", 2, "1M", fmt::to_string(processor).c_str());
    cache(processor, 3, "Unified", 3, "32768K", processor < 2 ? "0-1" : "2-3");
  }
  EXPECT_EQ(bytes({0}), int64_t(32) << 20);
  EXPECT_EQ(bytes({0, 1}), int64_t(32) << 20);
  EXPECT_EQ(bytes({0, 1, 2}), int64_t(64) << 20);
}

TEST_F(CachesTest, WithoutAThirdLevelTheSecondOnesAreTheLast) {
  for (int processor : {0, 1}) cache(processor, 0, "Unified", 2, "2M", fmt::to_string(processor).c_str());
  EXPECT_EQ(bytes({0, 1}), int64_t(4) << 20);
}

TEST_F(CachesTest, NothingToldIsZero) {
  EXPECT_EQ(bytes({0, 1}), 0);
  EXPECT_EQ(bytes({}), 0);
}

TEST_F(CachesTest, ThisMachineHasSome) { EXPECT_GT(last_level_cache_bytes(), 0); }

}  // namespace
}  // namespace updraft
