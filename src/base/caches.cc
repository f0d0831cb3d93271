#include "base/caches.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

namespace updraft {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "32768K", "1M"
int64_t bytes_of(const std::string& size) {
  int64_t value = 0;
  size_t i = 0;
  for (; i < size.size() && size[i] >= '0' && size[i] <= '9' && value < (int64_t(1) << 40); ++i)
    value = value * 10 + (size[i] - '0');
  const char unit = i < size.size() ? size[i] : ' ';
  return unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : unit == 'G' ? value << 30 : value;
}

}  // namespace

int64_t last_level_cache_bytes(const std::vector<int>& processors, const std::filesystem::path& system) {
  constexpr int kMostCaches = 16;
  int64_t last_level = 0;
  std::map<std::string, int64_t> caches;  // of the last level so far, by the processors that share it
  for (const int processor : processors)
    for (int index = 0; index < kMostCaches; ++index) {
      const auto folder = system / fmt::format("cpu{}", processor) / "cache" / fmt::format("index{}", index);
      const std::string type = first_line(folder / "type");
      if (type.empty()) break;
      if (type == "Instruction") continue;
      const int64_t level = bytes_of(first_line(folder / "level"));
      if (level < last_level) continue;
      if (level > last_level) caches.clear();
      last_level = level;
      caches[first_line(folder / "shared_cpu_list")] = bytes_of(first_line(folder / "size"));
    }
  int64_t sum = 0;
  for (const auto& [shared_by, bytes] : caches) sum += bytes;
  return sum;
}

namespace {

int64_t of_this_process() {
  cpu_set_t allowed;
  std::vector<int> processors;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
    for (int processor = 0; processor < CPU_SETSIZE; ++processor)
      if (CPU_ISSET(processor, &allowed)) processors.push_back(processor);
  if (const int64_t told = last_level_cache_bytes(processors); told > 0) return told;
  int64_t largest = 0;
  for (int name : {_SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL4_CACHE_SIZE})
    largest = std::max(largest, int64_t(sysconf(name)));
  return largest;
}

}  // namespace

int64_t last_level_cache_bytes() {
  static const int64_t kBytes = of_this_process();  // some files for each of what may be hundreds of processors
  return kBytes;
}

}  // namespace updraft
