// HugeMemory: anonymous zeroed memory in 2 MiB pages where the system grants them (madvise), never file-backed, touched
// only when first written, so that the thread that packs a weight also places it. A HugeArena hands out pieces of large
// ones, so that matrices smaller than a page share one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace updraft::compute::cpu {

class HugeMemory {
 public:
  HugeMemory() = default;
  // Throws Error naming `what` when the system has no room. Starts at a multiple of 2 MiB when at least that large.
  // `huge` false: the system's small pages, for measuring the difference.
  HugeMemory(int64_t bytes, const char* what, bool huge = true);
  ~HugeMemory();
  HugeMemory(HugeMemory&& other) noexcept { swap(other); }
  HugeMemory& operator=(HugeMemory&& other) noexcept {
    swap(other);
    return *this;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  friend class HugeArena;
  void swap(HugeMemory& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(whole_, other.whole_);
  }

  void* data_ = nullptr;
  int64_t bytes_ = 0;
  std::shared_ptr<HugeMemory> whole_;  // of which this is a piece; null: it is the whole
};

// Pieces of 64 MiB, one after the other, each at a multiple of 4 KiB; what is larger gets a memory of its own. A piece
// may outlive the arena. Thread-safe.
class HugeArena {
 public:
  // Throws Error naming `what` when the system has no room.
  HugeMemory take(int64_t bytes, const char* what);

 private:
  std::mutex mutex_;
  std::shared_ptr<HugeMemory> current_;
  int64_t used_ = 0;
};

}  // namespace updraft::compute::cpu
