// RandomAccess: bytes that can be read by position: a file, or a piece of memory that stands for one. Parsers of file
// formats take it, so that tests and fuzzers can feed them without a disk. Reading outside is an Error, never a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"

namespace updraft {

class RandomAccess {
 public:
  virtual ~RandomAccess() = default;

  // How messages call it: a file's path.
  virtual std::string where() const = 0;
  virtual int64_t size() const = 0;  // in bytes
  // Fills `out` with the bytes at `offset`. Thread-safe.
  virtual void read_at(int64_t offset, std::span<std::byte> out) const = 0;

  void read_at(int64_t offset, void* out, int64_t bytes) const {
    read_at(offset, std::span(static_cast<std::byte*>(out), static_cast<size_t>(bytes)));
  }

  // The same bytes where they lie, if they lie in memory already: no copy, no waiting. Null, which is always allowed:
  // read_at() is the way to them. They stay while the pointer and this object do. Thread-safe.
  virtual std::shared_ptr<const std::byte> view(int64_t /*offset*/, int64_t /*bytes*/) const { return nullptr; }

 protected:
  // What read_at() and view() say of a range that is not all inside.
  void check_inside(int64_t offset, int64_t bytes) const {
    if (offset < 0 || bytes < 0 || offset > size() || bytes > size() - offset)
      fail("{}: {} bytes at offset {} lie outside the file, which has {} bytes; it may be truncated: fetch it again.",
           where(), bytes, offset, size());
  }
};

// Borrows the bytes.
class MemoryAccess final : public RandomAccess {
 public:
  MemoryAccess(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  std::string where() const override { return where_; }
  int64_t size() const override { return int64_t(bytes_.size()); }
  using RandomAccess::read_at;
  void read_at(int64_t offset, std::span<std::byte> out) const override {
    check_inside(offset, int64_t(out.size()));
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }
  std::shared_ptr<const std::byte> view(int64_t offset, int64_t bytes) const override {
    check_inside(offset, bytes);
    return {std::shared_ptr<const void>(), bytes_.data() + offset};  // owns nothing
  }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
};

}  // namespace updraft
