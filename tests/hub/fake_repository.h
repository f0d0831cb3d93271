// A repository inside a test: files given as text, made from a seed (so that large ones need neither memory nor disk),
// or lying in a folder. For tests only.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "hub/digest.h"

namespace updraft::hub::test {

// Text, or `size` bytes made from `seed`, or the bytes of the file `on_disk`.
struct FakeFile {
  std::string text;
  int64_t size = 0;
  uint64_t seed = 0;
  bool large = false;  // LFS: has a sha256
  std::string sha256, git_sha1;
  std::string on_disk;  // sent with sendfile, so that a benchmark measures the client

  static uint64_t word(uint64_t seed, uint64_t index) {
    uint64_t z = (seed << 40) + index;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  }
  void read(int64_t offset, char* out, int64_t bytes) const {
    if (seed == 0) {
      std::memcpy(out, text.data() + offset, size_t(bytes));
      return;
    }
    for (int64_t i = 0; i < bytes;) {
      const uint64_t z = word(seed, uint64_t((offset + i) / 8));
      const int64_t skip = (offset + i) % 8, part = std::min(8 - skip, bytes - i);
      if (part == 8)
        std::memcpy(out + i, &z, 8);
      else
        std::memcpy(out + i, reinterpret_cast<const char*>(&z) + skip, size_t(part));
      i += part;
    }
  }
  void hash() {
    if (!on_disk.empty()) {
      sha256 = file_digest(on_disk, std::string(64, '0'));
      git_sha1 =
          large ? std::string(40, '0') : file_digest(on_disk, std::string(40, '0'));  // nobody reads a large one's
      return;
    }
    Digest sha(Digest::kSha256), git = Digest::git_blob(size);
    std::string buffer(1 << 20, 0);
    for (int64_t at = 0; at < size; at += int64_t(buffer.size())) {
      const int64_t part = std::min<int64_t>(size - at, int64_t(buffer.size()));
      read(at, buffer.data(), part);
      sha.update(std::string_view(buffer.data(), size_t(part)));
      git.update(std::string_view(buffer.data(), size_t(part)));
    }
    sha256 = sha.hex();
    git_sha1 = git.hex();
  }
  const std::string& etag() const { return large ? sha256 : git_sha1; }
};

struct FakeRepository {
  std::string id = "org/model", commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, FakeFile> files;

  void add(const std::string& path, const std::string& text) {
    FakeFile file;
    file.text = text;
    file.size = int64_t(text.size());
    add_file(path, std::move(file));
  }
  void add_large(const std::string& path, int64_t size, uint64_t seed) {
    FakeFile file;
    file.size = size;
    file.seed = seed;
    file.large = true;
    add_file(path, std::move(file));
  }
  // Every file directly in `folder`.
  void add_folder(const std::filesystem::path& folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      FakeFile file;
      file.on_disk = entry.path();
      file.size = int64_t(entry.file_size());
      file.large = file.size > (1 << 20);
      add_file(entry.path().filename(), std::move(file));
    }
  }
  void add_file(const std::string& path, FakeFile file) {
    file.hash();
    files[path] = std::move(file);
  }
};

}  // namespace updraft::hub::test
