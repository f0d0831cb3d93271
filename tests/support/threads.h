// Which threads this process has. For tests only.
#pragma once

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <thread>

namespace updraft::test {

inline std::set<std::string> threads_of_this_process() {
  // Under TSan a process gets one more of TSan's own with its first thread.
  [[maybe_unused]] static const bool begun = (std::thread([] {}).join(), true);
  std::set<std::string> ids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ids.insert(entry.path());
  return ids;
}

inline std::set<std::string> threads_since(const std::set<std::string>& before) {
  const std::set<std::string> now = threads_of_this_process();
  std::set<std::string> since;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::inserter(since, since.end()));
  return since;
}

}  // namespace updraft::test
