#include "base/system_memory.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "base/control_group.h"

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

}  // namespace

SystemMemory system_memory() {
  SystemMemory memory{kilobytes_field("/proc/meminfo", "MemTotal:"), kilobytes_field("/proc/meminfo", "MemAvailable:")};
  const MemoryLimit limit = memory_limit();
  memory.total_bytes = std::min(memory.total_bytes, limit.total_bytes);
  memory.available_bytes = std::min(memory.available_bytes, limit.available_bytes);
  return memory;
}

int64_t peak_resident_bytes() { return kilobytes_field("/proc/self/status", "VmHWM:"); }

bool reset_peak_resident() {
  std::ofstream control("/proc/self/clear_refs");
  control << "5" << std::flush;
  return control.good();
}

}  // namespace updraft
