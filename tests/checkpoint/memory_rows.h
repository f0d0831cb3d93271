// Values in memory as a RowSource.
#pragma once

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/row_source.h"

namespace updraft::checkpoint {

class MemoryRows final : public RowSource {
 public:
  MemoryRows(int64_t rows, int64_t columns, DType dtype, std::vector<std::byte> bytes)
      : RowSource(rows, columns, dtype), bytes_(std::move(bytes)) {}
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    if (begin < end) std::memcpy(out, bytes_.data() + begin * row_bytes(), size_t((end - begin) * row_bytes()));
  }

 private:
  std::vector<std::byte> bytes_;
};

template <class T>
RowSourcePtr rows_of(const std::vector<T>& values, int64_t columns, DType dtype) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return std::make_shared<MemoryRows>(int64_t(values.size()) / columns, columns, dtype, std::move(bytes));
}

}  // namespace updraft::checkpoint
