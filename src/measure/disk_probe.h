// How fast the disk under a folder reads one large file in order, past the page cache.
#pragma once

#include <cstdint>
#include <string>

namespace updraft::measure {

struct DiskProbe {
  int64_t free_bytes = 0;
  double write_bytes_per_second = 0;  // with fsync
  double read_bytes_per_second = 0;   // sequential, cold; 0 when the folder cannot be written
  std::string problem;                // why nothing was measured
};
// Writes `bytes` to a temporary file in the folder, reads it back past the page cache, removes it. 0 bytes: only the
// free space.
DiskProbe probe_disk(const std::string& folder, int64_t bytes);

}  // namespace updraft::measure
