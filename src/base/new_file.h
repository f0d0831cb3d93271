// NewFile: a file that appears under its name when it is whole, in place of what was there; links are followed. What is
// no regular file (/dev/null, a pipe) is written into as it is. Every failure is an Error that names the file.
#pragma once

#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace updraft {

class NewFile {
 public:
  explicit NewFile(const std::filesystem::path&);
  ~NewFile();  // leaves nothing behind unless finish() returned
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void finish();

 private:
  [[noreturn]] void cannot(int error) const;

  std::filesystem::path path_;       // as it was given
  std::filesystem::path place_;      // links followed
  std::filesystem::path temporary_;  // empty: written into as it is
  std::FILE* file_ = nullptr;
};

// Throws Error where no NewFile could be made: to be asked before the minutes of work, not after.
void refuse_unwritable(const std::filesystem::path&);

// The whole of a small file.
void write_text_file(const std::filesystem::path&, std::string_view text);

}  // namespace updraft
