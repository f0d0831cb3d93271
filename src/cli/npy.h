// NumPy's .npy format 1.0, written row by row: a float32 matrix that appears under its name only when it is complete.
// Source: numpy.lib.format.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace updraft::cli {

class NpyWriter {
 public:
  NpyWriter(std::string path, int64_t rows, int64_t columns);  // throws Error
  ~NpyWriter();                                                // removes what is not finished
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  void row(std::span<const float> values);
  void finish();  // throws Error when the disk is full

 private:
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
};

}  // namespace updraft::cli
