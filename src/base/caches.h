// The caches of the processors that this process may use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace updraft {

// Bytes of the last level, of all caches of it that these processors share. From what the kernel tells of each
// processor (`system`): what sysconf makes of cpuid is ten times too large on AMD's virtual machines. 0: unknown.
int64_t last_level_cache_bytes(const std::vector<int>& processors,
                               const std::filesystem::path& system = "/sys/devices/system/cpu");
int64_t last_level_cache_bytes();  // this process's, looked at once; by sysconf where the kernel does not tell

}  // namespace updraft
