// File: a regular file open for reading by position, from any thread. A model's weights are read through it in small
// ranges: seen where they lie in the page cache, else copied with pread. It is never mapped as a whole: page faults,
// not bandwidth, bound a careless loader, and pages that were read can be dropped from the page cache behind the
// reader. Every failure is an Error that names the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/random_access.h"

namespace updraft {

class File final : public RandomAccess {
 public:
  // Throws Error when there is no such file, it may not be read, or it is not a regular file.
  explicit File(const std::filesystem::path&);
  ~File() override;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string where() const override { return path_.string(); }
  std::string name() const { return path_.filename().string(); }
  int64_t size() const override { return size_; }  // in bytes, when it was opened

  // Fills `out` with the bytes at `offset`; a range that leaves the file, or a file that shrank, is an Error.
  void read_at(int64_t offset, std::span<std::byte> out) const override;
  using RandomAccess::read_at;

  // The range mapped, every page of it at once, if all of it seems to be in the page cache (a page in every half MiB is
  // asked). Worth it from some MB on: unmapping interrupts the other threads. Whoever shortens the file while a view
  // lives ends the program with SIGBUS, so a view lives as long as it takes to pack it.
  std::shared_ptr<const std::byte> view(int64_t offset, int64_t bytes) const override;

  // Hints to the page cache; never fail.
  void advise_sequential() const;
  void will_not_need(int64_t offset, int64_t bytes) const;  // whole pages inside the range may be dropped
  // From now on every read, and every view when it ends, drops its pages behind itself: for a file so large that its
  // pages would crowd out what is being made from them. To be called before other threads read.
  void drop_pages_behind() { drop_behind_ = true; }

 private:
  bool seems_cached(int64_t offset, int64_t bytes) const;

  std::filesystem::path path_;
  int descriptor_;
  int64_t size_;
  bool drop_behind_ = false;
};

// Whether something is there, links followed; false also where one may not look. Never throws.
bool is_there(const std::filesystem::path&);

// The whole of a small file (config.json, an index). Throws Error when it is larger than `limit_bytes`.
std::string read_text_file(const std::filesystem::path&, int64_t limit_bytes = 64 << 20);

}  // namespace updraft
