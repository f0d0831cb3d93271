// NumPy's .npy format 1.0, written row by row: a float32 matrix that appears under its name only when it is complete.
// Source: numpy.lib.format.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/new_file.h"

namespace updraft::cli {

class NpyWriter {
 public:
  explicit NpyWriter(const std::string& path) : file_(path) {}

  void begin(int64_t rows, int64_t columns);  // once, before the rows
  void row(std::span<const float> values) { file_.write(std::as_bytes(values)); }
  void finish() { file_.finish(); }

 private:
  NewFile file_;
};

}  // namespace updraft::cli
