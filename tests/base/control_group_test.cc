#include "base/control_group.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace updraft {
namespace {

namespace fs = std::filesystem;

class ControlGroup : public testing::Test {
 protected:
  ControlGroup() : folder_(fs::path(testing::TempDir()) / ("control_group" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ControlGroup() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text << "\n";
  }
  ControlGroupPlaces places() const { return {folder_ / "membership", folder_ / "sys"}; }

 private:
  fs::path folder_;
};

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

TEST_F(ControlGroup, NoneAtAllIsNoLimit) {
  EXPECT_EQ(memory_limit(places()).total_bytes, kNone);
  EXPECT_EQ(memory_limit(places()).available_bytes, kNone);
  EXPECT_EQ(processor_quota(places()), 0);
}

TEST_F(ControlGroup, Version2TakesTheTightestUpToTheRoot) {
  write("membership", "0::/system.slice/run.scope");
  write("sys/system.slice/run.scope/memory.max", "max");
  write("sys/system.slice/memory.max", "4000000000");
  write("sys/system.slice/memory.current", "3500000000");
  write("sys/system.slice/memory.stat",
        "anon 500000000\nfile 3000000000\ninactive_file 2000000000\nactive_file 900000000");
  write("sys/system.slice/run.scope/cpu.max", "150000 100000");
  write("sys/system.slice/cpu.max", "max 100000");
  EXPECT_EQ(memory_limit(places()).total_bytes, 4'000'000'000);
  EXPECT_EQ(memory_limit(places()).available_bytes, 3'400'000'000) << "the page cache can be given back";
  EXPECT_EQ(processor_quota(places()), 1.5);
}

TEST_F(ControlGroup, Version2InAContainerSeesOnlyItsRoot) {
  write("membership", "0::/../of/the/host");
  write("sys/memory.max", "2000000000");
  write("sys/memory.current", "500000000");
  write("sys/cpu.max", "400000 100000");
  EXPECT_EQ(memory_limit(places()).available_bytes, 1'500'000'000);
  EXPECT_EQ(processor_quota(places()), 4);
}

TEST_F(ControlGroup, Version1) {
  write("membership", "9:name=systemd:/\n4:memory:/job\n3:cpuset:/\n2:cpu,cpuacct:/job\n0::/");
  write("sys/memory/memory.limit_in_bytes", "9223372036854771712");
  write("sys/memory/memory.usage_in_bytes", "8000000000");
  write("sys/memory/job/memory.limit_in_bytes", "1000000000");
  write("sys/memory/job/memory.usage_in_bytes", "900000000");
  write("sys/memory/job/memory.stat", "inactive_file 5\ntotal_inactive_file 300000000\ntotal_active_file 100000000");
  write("sys/cpu/job/cpu.cfs_quota_us", "200000");
  write("sys/cpu/job/cpu.cfs_period_us", "100000");
  write("sys/cpu/cpu.cfs_quota_us", "-1");
  write("sys/cpu/cpu.cfs_period_us", "100000");
  EXPECT_EQ(memory_limit(places()).total_bytes, 1'000'000'000);
  EXPECT_EQ(memory_limit(places()).available_bytes, 500'000'000);
  EXPECT_EQ(processor_quota(places()), 2);
}

}  // namespace
}  // namespace updraft
