#include "cli/npy.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace updraft::cli {

NpyWriter::NpyWriter(std::string path, int64_t rows, int64_t columns)
    : path_(std::move(path)), temporary_(fmt::format("{}.{}.incomplete", path_, getpid())) {
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (!file_) fail("--output {}: cannot be written: {}", path_, std::strerror(errno));
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  constexpr size_t kPrefix = 10;  // magic, version, header length
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  const unsigned char prefix[kPrefix] = {
      0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, uint8_t(header.size() & 0xff), uint8_t(header.size() >> 8)};
  std::fwrite(prefix, 1, kPrefix, file_);
  std::fwrite(header.data(), 1, header.size(), file_);
}

NpyWriter::~NpyWriter() {
  if (!file_) return;
  std::fclose(file_);
  std::remove(temporary_.c_str());
}

void NpyWriter::row(std::span<const float> values) { std::fwrite(values.data(), sizeof(float), values.size(), file_); }

void NpyWriter::finish() {
  const bool failed = std::ferror(file_) != 0 || std::fflush(file_) != 0;
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (failed || !closed || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    std::remove(temporary_.c_str());
    fail("--output {}: cannot be written: {}", path_, std::strerror(error));
  }
}

}  // namespace updraft::cli
