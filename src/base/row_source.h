// RowSource: a matrix somewhere (a range of a file, a generator, a block-quantized tensor being dequantized) whose rows
// can be read by range, in any order, from several threads, without ever holding the whole of it in memory.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/dtype.h"

namespace updraft {

class RowSource {
 public:
  virtual ~RowSource() = default;

  int64_t rows() const { return rows_; }  // a vector is one row
  int64_t columns() const { return columns_; }
  DType dtype() const { return dtype_; }  // the type that read_rows writes
  int64_t row_bytes() const { return columns_ * bytes_per_element(dtype_); }
  // For messages: the tensor's, else "a matrix of 3 x 100".
  std::string name() const { return name_.empty() ? fmt::format("a matrix of {} x {}", rows_, columns_) : name_; }

  // Writes rows [begin, end) to `out`, row-major, dtype(), no padding. Thread-safe. Throws Error when the file fails.
  virtual void read_rows(int64_t begin, int64_t end, void* out) const = 0;
  // What read_rows would write, where it already lies in memory (aligned for dtype()), or null: always allowed. The
  // rows stay while the pointer and this source do. Thread-safe. Throws as read_rows.
  virtual std::shared_ptr<const std::byte> view_rows(int64_t /*begin*/, int64_t /*end*/) const { return nullptr; }

 protected:
  RowSource(int64_t rows, int64_t columns, DType dtype, std::string name = {})
      : rows_(rows), columns_(columns), dtype_(dtype), name_(std::move(name)) {}

 private:
  int64_t rows_;
  int64_t columns_;
  DType dtype_;
  std::string name_;
};

using RowSourcePtr = std::shared_ptr<const RowSource>;

}  // namespace updraft
