// How much memory this process may still take: the machine's free memory, cut by the cgroup's limit.
#pragma once

#include <cstdint>

namespace updraft {

struct SystemMemory {
  int64_t total_bytes = 0;      // the machine's, or the cgroup's limit when that is smaller
  int64_t available_bytes = 0;  // free plus what the kernel would give back (page cache)
};
SystemMemory system_memory();

// Peak resident set of this process so far (VmHWM), bytes; 0 when the kernel does not say.
int64_t peak_resident_bytes();
// The peak starts again at what is resident now. False where the kernel does not let it.
bool reset_peak_resident();

}  // namespace updraft
