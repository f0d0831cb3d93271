#include "compute/cpu/huge_memory.h"

#include <sys/mman.h>

#include "base/error.h"

namespace updraft::compute::cpu {
namespace {

constexpr int64_t kHugePage = int64_t(2) << 20;
constexpr int64_t kSmallPage = 4096;
constexpr int64_t kArenaBytes = int64_t(64) << 20;
constexpr int64_t kLargestPiece = kArenaBytes / 4;  // so that little is lost where a piece does not fit any more

}  // namespace

HugeMemory::HugeMemory(int64_t bytes, const char* what, bool huge) {
  if (bytes <= 0) return;
  bytes_ = (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
  const int64_t slack = bytes_ >= kHugePage ? kHugePage : 0;
  void* mapped =
      mmap(nullptr, size_t(bytes_ + slack), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED)
    fail("The system has no {:.1f} MB of memory left for {}; use a smaller model, context or --dtype.",
         double(bytes) / 1e6, what);
  char* begin = static_cast<char*>(mapped);
  if (slack > 0) {
    char* aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(begin) + uintptr_t(kHugePage - 1)) &
                                            ~uintptr_t(kHugePage - 1));
    if (aligned > begin) munmap(begin, size_t(aligned - begin));
    const int64_t tail = slack - (aligned - begin);
    if (tail > 0) munmap(aligned + bytes_, size_t(tail));
    begin = aligned;
  }
  madvise(begin, size_t(bytes_), huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // a wish: small pages work too
  data_ = begin;
}

HugeMemory::~HugeMemory() {
  if (data_ != nullptr && whole_ == nullptr) munmap(data_, size_t(bytes_));
}

HugeMemory HugeArena::take(int64_t bytes, const char* what) {
  if (bytes >= kLargestPiece) return HugeMemory(bytes, what);
  HugeMemory piece;
  if (bytes <= 0) return piece;
  piece.bytes_ = (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
  const std::lock_guard lock(mutex_);
  if (current_ == nullptr || used_ + piece.bytes_ > current_->bytes()) {
    current_ = std::make_shared<HugeMemory>(kArenaBytes, what);
    used_ = 0;
  }
  piece.whole_ = current_;
  piece.data_ = current_->as<char>() + used_;
  used_ += piece.bytes_;
  return piece;
}

}  // namespace updraft::compute::cpu
