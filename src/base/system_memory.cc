#include "base/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace updraft {
namespace {

// The number after `key` in a file of "key: value kB" lines, in bytes; 0 when it is not there.
int64_t kilobytes_field(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string word; in >> word;) {
    int64_t value = 0;
    if (word == key && in >> value) return value * 1024;
  }
  return 0;
}

// A file with one number; nothing when it is missing or says "max".
int64_t number_or(const char* file, int64_t otherwise) {
  std::ifstream in(file);
  int64_t value = 0;
  return in >> value ? value : otherwise;
}

}  // namespace

SystemMemory system_memory() {
  SystemMemory memory{kilobytes_field("/proc/meminfo", "MemTotal:"), kilobytes_field("/proc/meminfo", "MemAvailable:")};
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  int64_t limit = number_or("/sys/fs/cgroup/memory.max", kNone);
  int64_t used = number_or("/sys/fs/cgroup/memory.current", 0);
  if (limit == kNone) {
    limit = number_or("/sys/fs/cgroup/memory/memory.limit_in_bytes", kNone);
    used = number_or("/sys/fs/cgroup/memory/memory.usage_in_bytes", 0);
  }
  if (limit < memory.total_bytes) {
    memory.total_bytes = limit;
    memory.available_bytes = std::min(memory.available_bytes, std::max<int64_t>(limit - used, 0));
  }
  return memory;
}

int64_t peak_resident_bytes() { return kilobytes_field("/proc/self/status", "VmHWM:"); }

bool reset_peak_resident() {
  std::ofstream control("/proc/self/clear_refs");
  control << "5" << std::flush;
  return control.good();
}

}  // namespace updraft
