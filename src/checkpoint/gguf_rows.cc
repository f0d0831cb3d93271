#include "checkpoint/gguf_rows.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace updraft::checkpoint {
namespace {

constexpr int64_t kScratchBytes = 256 << 10;  // of stored blocks read at a time: stays in the second-level cache

DType stored_dtype(const GgufTypeTraits& type) {
  if (type.type == GgufType::kF16) return DType::kF16;
  if (type.type == GgufType::kBF16) return DType::kBF16;
  return DType::kF32;
}

std::unique_ptr<std::byte[]> scratch(int64_t bytes) {
  return std::unique_ptr<std::byte[]>(new std::byte[size_t(bytes)]);  // not zeroed: it is overwritten at once
}

class GgufRows final : public RowSource {
 public:
  GgufRows(std::shared_ptr<const RandomAccess> file, const GgufTensor& tensor, int head_dim)
      : RowSource(tensor.shape.size() == 2 ? tensor.shape[0] : 1, tensor.shape.back(), stored_dtype(*tensor.type)),
        file_(std::move(file)),
        type_(*tensor.type),
        offset_(tensor.offset),
        head_dim_(head_dim),
        blocks_per_row_(columns() / type_.block_elements),
        stored_row_bytes_(blocks_per_row_ * type_.block_bytes) {
    CHECK(head_dim == 0 || (tensor.shape.size() == 2 ? rows() : columns()) % head_dim == 0) << tensor.name;
  }

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    CHECK(0 <= begin && begin <= end && end <= rows()) << begin << ' ' << end << ' ' << rows();
    if (begin == end) return;
    auto* to = static_cast<std::byte*>(out);
    if (head_dim_ == 0) return read_stored_order(begin, end, to);
    if (rows() == 1) return read_interleaved_vector(to);
    for (int64_t row = begin; row < end;) {
      const int64_t head = row / head_dim_;
      const int64_t head_end = std::min(end, (head + 1) * head_dim_);
      read_part_of_head(head, row % head_dim_, head_end - head * head_dim_, to + (row - begin) * row_bytes());
      row = head_end;
    }
  }

 private:
  void decode(const std::byte* stored, int64_t row_count, std::byte* out) const {
    if (type_.dequantize == nullptr)
      std::memcpy(out, stored, size_t(row_count * stored_row_bytes_));
    else
      type_.dequantize(reinterpret_cast<const uint8_t*>(stored), row_count * blocks_per_row_,
                       reinterpret_cast<float*>(out));
  }

  void read_stored_order(int64_t begin, int64_t end, std::byte* out) const {
    if (type_.dequantize == nullptr)
      return file_->read_at(offset_ + begin * stored_row_bytes_, out, (end - begin) * stored_row_bytes_);
    const int64_t chunk_rows = std::clamp<int64_t>(kScratchBytes / stored_row_bytes_, 1, end - begin);
    const auto stored = scratch(chunk_rows * stored_row_bytes_);
    for (int64_t row = begin; row < end; row += chunk_rows) {
      const int64_t count = std::min(chunk_rows, end - row);
      file_->read_at(offset_ + row * stored_row_bytes_, stored.get(), count * stored_row_bytes_);
      decode(stored.get(), count, out + (row - begin) * row_bytes());
    }
  }

  // Rows [begin, end) of one head, in Hugging Face's order; the stretch of the file that holds them is read once.
  void read_part_of_head(int64_t head, int64_t begin, int64_t end, std::byte* out) const {
    int64_t first = head_dim_, last = 0;
    for (int64_t row = begin; row < end; ++row) {
      first = std::min(first, stored_position(row));
      last = std::max(last, stored_position(row));
    }
    const int64_t bytes = (last - first + 1) * stored_row_bytes_;
    const auto stored = scratch(bytes);
    file_->read_at(offset_ + (head * head_dim_ + first) * stored_row_bytes_, stored.get(), bytes);
    for (int64_t row = begin; row < end; ++row)
      decode(stored.get() + (stored_position(row) - first) * stored_row_bytes_, 1, out + (row - begin) * row_bytes());
  }

  void read_interleaved_vector(std::byte* out) const {
    const auto values = scratch(row_bytes());
    read_stored_order(0, 1, values.get());
    const int64_t size = bytes_per_element(dtype());
    for (int64_t i = 0; i < columns(); ++i) {
      const int64_t head = i / head_dim_ * head_dim_;
      std::memcpy(out + i * size, values.get() + (head + stored_position(i - head)) * size, size_t(size));
    }
  }

  // Where row `row` of a head is stored within the head.
  int64_t stored_position(int64_t row) const {
    const int64_t half = head_dim_ / 2;
    return row < half ? 2 * row : 2 * (row - half) + 1;
  }

  std::shared_ptr<const RandomAccess> file_;
  const GgufTypeTraits& type_;
  int64_t offset_;
  int64_t head_dim_;
  int64_t blocks_per_row_;
  int64_t stored_row_bytes_;
};

}  // namespace

RowSourcePtr make_gguf_rows(std::shared_ptr<const RandomAccess> file, const GgufTensor& tensor,
                            int interleaved_head_dim) {
  return std::make_shared<GgufRows>(std::move(file), tensor, interleaved_head_dim);
}

}  // namespace updraft::checkpoint
