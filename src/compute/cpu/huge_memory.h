// HugeMemory: anonymous zeroed memory in 2 MiB pages where the system grants them (madvise), never file-backed, touched
// only when first written, so that the thread that packs a weight also places it.
#pragma once

#include <cstddef>
#include <cstdint>
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
  void swap(HugeMemory& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace updraft::compute::cpu
