#include "measure/disk_probe.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

namespace updraft::measure {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kBlock = size_t(8) << 20;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Noise, so that no file system compresses it away.
void fill_noise(std::vector<uint64_t>& block) {
  uint64_t state = 0x9e3779b97f4a7c15u;
  for (uint64_t& word : block) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    word = state;
  }
}

bool transfer(int descriptor, int64_t bytes, auto call) {
  for (int64_t done = 0; done < bytes;) {
    const ssize_t moved = call(descriptor, done);
    if (moved <= 0) {
      if (moved < 0 && errno == EINTR) continue;
      return false;
    }
    done += moved;
  }
  return true;
}

}  // namespace

DiskProbe probe_disk(const std::string& folder, int64_t bytes) {
  DiskProbe probe;
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  struct statvfs space {};
  if (statvfs(folder.c_str(), &space) != 0) {
    probe.problem = std::strerror(errno);
    return probe;
  }
  probe.free_bytes = int64_t(space.f_bavail) * int64_t(space.f_frsize);
  if (bytes <= 0) return probe;
  if (probe.free_bytes < 2 * bytes) {
    probe.problem = "too little free space to measure";
    return probe;
  }
  std::string name = folder + "/.updraft-disk-probe-XXXXXX";
  const int descriptor = mkstemp(name.data());
  if (descriptor < 0) {
    probe.problem = std::strerror(errno);
    return probe;
  }
  unlink(name.c_str());  // nothing is left behind, whatever happens from here on
  std::vector<uint64_t> block(kBlock / sizeof(uint64_t));
  fill_noise(block);
  Clock::time_point start = Clock::now();
  const bool written = transfer(descriptor, bytes, [&](int d, int64_t) { return write(d, block.data(), kBlock); }) &&
                       fsync(descriptor) == 0;
  if (written) {
    probe.write_bytes_per_second = double(bytes) / seconds_since(start);
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
    start = Clock::now();
    const bool read =
        transfer(descriptor, bytes, [&](int d, int64_t at) { return pread(d, block.data(), kBlock, at); });
    if (read) probe.read_bytes_per_second = double(bytes) / seconds_since(start);
  }
  if (probe.read_bytes_per_second == 0) probe.problem = std::strerror(errno);
  close(descriptor);
  return probe;
}

}  // namespace updraft::measure
