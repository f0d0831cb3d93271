#include "base/control_group.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>

namespace updraft {
namespace {

// The number in a file; nothing when there is no such file, or it says "max".
std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream in(path);
  int64_t value = 0;
  return in >> value ? std::optional(value) : std::nullopt;
}

// The number beside `key` in a file of "key number" lines; 0 when it is not there.
int64_t field_in(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  int64_t value = 0;
  for (std::string word; in >> word >> value;)
    if (word == key) return value;
  return 0;
}

bool lists(const std::string& controllers, const std::string& controller) {
  return ("," + controllers + ",").find("," + controller + ",") != std::string::npos;
}

}  // namespace

std::vector<std::string> control_group_folders(const std::string& controller, const ControlGroupPlaces& places) {
  std::vector<std::string> folders;
  std::ifstream in(places.membership);
  for (std::string line; std::getline(in, line);) {  // "4:memory:/a/b" of version 1, "0::/a/b" of version 2
    const size_t first = line.find(':'), second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && !lists(controllers, controller)) continue;
    const std::string root = controllers.empty() ? places.root : places.root + "/" + controller;
    // Inside a container the path may be that of the host, and only the root is there.
    for (std::string path = line.substr(second + 1); path.starts_with('/') && path != "/"; path.resize(path.rfind('/')))
      folders.push_back(root + path);
    folders.push_back(root);
  }
  return folders;
}

MemoryLimit memory_limit(const ControlGroupPlaces& places) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  MemoryLimit result{kNone, kNone};
  for (const std::string& folder : control_group_folders("memory", places)) {
    std::optional<int64_t> limit = number_in(folder + "/memory.max"), used = number_in(folder + "/memory.current");
    std::string total;  // version 1 sums what is below under names of its own
    if (!limit) {
      limit = number_in(folder + "/memory.limit_in_bytes"), used = number_in(folder + "/memory.usage_in_bytes");
      total = "total_";
    }
    if (!limit) continue;
    const std::string statistics = folder + "/memory.stat";
    const int64_t cache = field_in(statistics, total + "inactive_file") + field_in(statistics, total + "active_file");
    const int64_t held = std::max<int64_t>(used.value_or(0) - cache, 0);
    result.total_bytes = std::min(result.total_bytes, *limit);
    result.available_bytes = std::min(result.available_bytes, std::max<int64_t>(*limit - held, 0));
  }
  return result;
}

double processor_quota(const ControlGroupPlaces& places) {
  double least = 0;
  for (const std::string& folder : control_group_folders("cpu", places)) {
    double quota = 0, period = 0;
    std::ifstream both(folder + "/cpu.max");  // "max 100000" where there is none
    if (std::string word; both >> word >> period) {
      quota = std::atof(word.c_str());
    } else {
      quota = double(number_in(folder + "/cpu.cfs_quota_us").value_or(0));
      period = double(number_in(folder + "/cpu.cfs_period_us").value_or(0));
    }
    if (quota > 0 && period > 0 && (least == 0 || quota / period < least)) least = quota / period;
  }
  return least;
}

}  // namespace updraft
