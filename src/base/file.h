// File: a regular file open for reading by position, from any thread. A model's weights are read through it in small
// ranges with pread, never mapped: page faults on fresh mappings, not bandwidth, bound a careless loader, and pages
// that were read can be dropped from the page cache behind the reader. Every failure is an Error that names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace updraft {

class File {
 public:
  // Throws Error when there is no such file, it may not be read, or it is not a regular file.
  explicit File(const std::filesystem::path&);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string name() const { return path_.filename().string(); }
  int64_t size() const { return size_; }  // in bytes, when it was opened

  // Fills `out` with the bytes at `offset`; a range that leaves the file, or a file that shrank, is an Error.
  void read_at(int64_t offset, std::span<std::byte> out) const;
  void read_at(int64_t offset, void* out, int64_t bytes) const {
    read_at(offset, {static_cast<std::byte*>(out), static_cast<size_t>(bytes)});
  }

  // Hints to the page cache; never fail.
  void advise_sequential() const;
  void will_not_need(int64_t offset, int64_t bytes) const;  // whole pages inside the range may be dropped

 private:
  std::filesystem::path path_;
  int descriptor_;
  int64_t size_;
};

// The whole of a small file (config.json, an index). Throws Error when it is larger than `limit_bytes`.
std::string read_text_file(const std::filesystem::path&, int64_t limit_bytes = 64 << 20);

}  // namespace updraft
