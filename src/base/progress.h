// Progress: how long work reports how far it is. Drawing it (a bar with rate and time left on a terminal, nothing
// elsewhere) is the top floor's business.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace updraft {

struct Progress {
  std::string what;        // "loading weights"
  int64_t done = 0;        // in `unit`
  int64_t total = 0;       // 0: unknown
  std::string unit = "B";  // "B" is drawn as KB, MB, GB
};

// Called at any rate from any one thread at a time; may be empty.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace updraft
