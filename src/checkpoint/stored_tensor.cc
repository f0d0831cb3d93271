#include "checkpoint/stored_tensor.h"

#include "base/check.h"
#include "base/error.h"

namespace updraft::checkpoint {
namespace {

class FileRows final : public RowSource {
 public:
  FileRows(std::shared_ptr<const RandomAccess> file, const StoredTensor& tensor, DType dtype, int64_t rows,
           int64_t columns)
      : RowSource(rows, columns, dtype),
        file_(std::move(file)),
        begin_(tensor.begin),
        stride_bytes_(tensor.row_stride == 0 ? row_bytes() : tensor.row_stride * bytes_per_element(dtype)) {}

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    CHECK(0 <= begin && begin <= end && end <= rows()) << begin << " " << end << " " << rows();
    if (stride_bytes_ == row_bytes()) {
      file_->read_at(begin_ + begin * row_bytes(), out, (end - begin) * row_bytes());
      return;
    }
    for (int64_t row = begin; row < end; ++row)
      file_->read_at(begin_ + row * stride_bytes_, static_cast<std::byte*>(out) + (row - begin) * row_bytes(),
                     row_bytes());
  }

  std::shared_ptr<const std::byte> view_rows(int64_t begin, int64_t end) const override {
    CHECK(0 <= begin && begin <= end && end <= rows()) << begin << " " << end << " " << rows();
    if (stride_bytes_ != row_bytes()) return nullptr;
    auto view = file_->view(begin_ + begin * row_bytes(), (end - begin) * row_bytes());
    // Files of others may place a tensor anywhere.
    const bool aligned = reinterpret_cast<uintptr_t>(view.get()) % uintptr_t(bytes_per_element(dtype())) == 0;
    return aligned ? view : nullptr;
  }

 private:
  std::shared_ptr<const RandomAccess> file_;
  int64_t begin_;
  int64_t stride_bytes_;
};

}  // namespace

std::optional<DType> dtype_of(const std::string& stored_type) {
  if (stored_type == "F32") return DType::kF32;
  if (stored_type == "F16") return DType::kF16;
  if (stored_type == "BF16") return DType::kBF16;
  return std::nullopt;
}

std::string show_shape(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::optional<int64_t> element_count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return std::nullopt;
  return count;
}

RowSourcePtr make_file_rows(std::shared_ptr<const RandomAccess> file, const StoredTensor& tensor, DType dtype,
                            int64_t rows, int64_t columns) {
  return std::make_shared<FileRows>(std::move(file), tensor, dtype, rows, columns);
}

}  // namespace updraft::checkpoint
