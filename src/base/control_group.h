// The control groups (cgroups) this process is in, of both generations: where its limits of memory and processors are
// written. A limit of any group from its own up to the root holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace updraft {

// Where the kernel says so; other places in tests.
struct ControlGroupPlaces {
  std::string membership = "/proc/self/cgroup", root = "/sys/fs/cgroup";
};

// The folders of `controller` ("memory", "cpu"), innermost first; those that do not exist are among them.
std::vector<std::string> control_group_folders(const std::string& controller, const ControlGroupPlaces& = {});

struct MemoryLimit {
  int64_t total_bytes = 0;      // INT64_MAX: no limit
  int64_t available_bytes = 0;  // of it: what is not used, and the page cache, which the kernel gives back
};
MemoryLimit memory_limit(const ControlGroupPlaces& = {});

// Processors that the quotas amount to; 0: no quota.
double processor_quota(const ControlGroupPlaces& = {});

}  // namespace updraft
