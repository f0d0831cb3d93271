#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace updraft {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

constexpr size_t kLargestRead = size_t(1) << 30;  // Linux transfers at most 2 GiB - 4 KiB in one call
constexpr int64_t kProbeBytes = int64_t(512) << 10;

}  // namespace

File::File(const std::filesystem::path& path) : path_(path), descriptor_(-1), size_(0) {
  do {
    // O_NONBLOCK: opening a FIFO must not wait for its writer; it has no effect on a regular file.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) fail("{}: cannot open the file for reading: {}.", path.string(), reason(errno));
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    fail("{}: not a regular file, which it has to be: a pipe, a device or a folder cannot be read here.",
         path.string());
  }
  size_ = status.st_size;
}

File::~File() { ::close(descriptor_); }

void File::read_at(int64_t offset, std::span<std::byte> out) const {
  check_inside(offset, int64_t(out.size()));
  const int64_t begin = offset;
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), std::min(out.size(), kLargestRead), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      fail("{}: reading {} bytes at offset {} failed: {}.", path_.string(), out.size(), offset, reason(errno));
    if (count == 0) fail("{}: ends at offset {}, it was shortened while it was being read.", path_.string(), offset);
    out = out.subspan(size_t(count));
    offset += count;
  }
  if (drop_behind_) will_not_need(begin, offset - begin);
}

bool File::seems_cached(int64_t offset, int64_t bytes) const {
  const auto cached = [&](int64_t at) {
    char byte;
    const iovec to{&byte, 1};
    return ::preadv2(descriptor_, &to, 1, at, RWF_NOWAIT) == 1;
  };
  for (int64_t at = offset; at < offset + bytes; at += kProbeBytes)
    if (!cached(at)) return false;
  return cached(offset + bytes - 1);
}

std::shared_ptr<const std::byte> File::view(int64_t offset, int64_t bytes) const {
  check_inside(offset, bytes);
  if (bytes == 0 || !seems_cached(offset, bytes)) return nullptr;
  const int64_t begin = offset / sysconf(_SC_PAGESIZE) * sysconf(_SC_PAGESIZE);
  const auto length = size_t(offset + bytes - begin);
  void* mapped = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor_, begin);
  if (mapped == MAP_FAILED) return nullptr;
  std::shared_ptr<const void> mapping(mapped, [this, begin, length](const void* p) {
    ::munmap(const_cast<void*>(p), length);
    if (drop_behind_) will_not_need(begin, int64_t(length));
  });
  // Fails where the file became shorter, the disk fails, or Linux is older than 5.14: read_at() copes, or says why not.
  if (::madvise(mapped, length, MADV_POPULATE_READ) != 0) return nullptr;
  return {mapping, static_cast<const std::byte*>(mapped) + (offset - begin)};
}

void File::advise_sequential() const { ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL); }

void File::will_not_need(int64_t offset, int64_t bytes) const {
  if (offset < 0 || bytes <= 0) return;  // 0 bytes would mean "to the end of the file"
  ::posix_fadvise(descriptor_, offset, bytes, POSIX_FADV_DONTNEED);
}

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string read_text_file(const std::filesystem::path& path, int64_t limit_bytes) {
  const File file(path);
  if (file.size() > limit_bytes)
    fail("{}: has {} bytes, more than the {} that such a file may have.", path.string(), file.size(), limit_bytes);
  std::string text(size_t(file.size()), '\0');
  file.read_at(0, text.data(), file.size());
  return text;
}

}  // namespace updraft
