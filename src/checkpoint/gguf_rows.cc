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

// Where the rows lie in the file, and in which order.
class StoredRows {
 public:
  StoredRows(std::shared_ptr<const RandomAccess> file, const GgufTensor& tensor, int head_dim)
      : file_(std::move(file)),
        type_(*tensor.type),
        rows_(tensor.shape.size() == 2 ? tensor.shape[0] : 1),
        columns_(tensor.shape.back()),
        offset_(tensor.offset),
        head_dim_(head_dim) {
    CHECK(head_dim == 0 || (tensor.shape.size() == 2 ? rows_ : columns_) % head_dim == 0) << tensor.name;
  }

  const GgufTypeTraits& type() const { return type_; }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int head_dim() const { return head_dim_; }
  int64_t blocks_per_row() const { return columns_ / type_.block_elements; }
  int64_t row_bytes() const { return blocks_per_row() * type_.block_bytes; }
  bool in_stored_order() const { return head_dim_ == 0 || rows_ == 1; }

  void read(int64_t begin, int64_t end, void* out) const {
    file_->read_at(offset_ + begin * row_bytes(), out, (end - begin) * row_bytes());
  }

  // f(blocks of consecutive rows as stored, first of them, how many), in order, until all of [begin, end) was seen.
  template <class F>
  void for_each(int64_t begin, int64_t end, F f) const {
    CHECK(0 <= begin && begin <= end && end <= rows_) << begin << ' ' << end << ' ' << rows_;
    if (!in_stored_order()) {
      for (int64_t row = begin; row < end;) {
        const int64_t head = row / head_dim_, head_end = std::min(end, (head + 1) * head_dim_);
        for_part_of_head(head, row % head_dim_, head_end - head * head_dim_, f);
        row = head_end;
      }
      return;
    }
    const int64_t chunk_rows = std::clamp<int64_t>(kScratchBytes / row_bytes(), 1, std::max<int64_t>(end - begin, 1));
    const auto stored = scratch(chunk_rows * row_bytes());
    for (int64_t row = begin; row < end; row += chunk_rows) {
      const int64_t count = std::min(chunk_rows, end - row);
      read(row, row + count, stored.get());
      f(stored.get(), row, count);
    }
  }

  // Where row `row` of a head is stored within the head.
  int64_t stored_position(int64_t row) const {
    const int64_t half = head_dim_ / 2;
    return row < half ? 2 * row : 2 * (row - half) + 1;
  }

 private:
  // Rows [begin, end) of one head, in Hugging Face's order; the stretch of the file that holds them is read once.
  template <class F>
  void for_part_of_head(int64_t head, int64_t begin, int64_t end, F f) const {
    int64_t first = head_dim_, last = 0;
    for (int64_t row = begin; row < end; ++row) {
      first = std::min(first, stored_position(row));
      last = std::max(last, stored_position(row));
    }
    const auto stored = scratch((last - first + 1) * row_bytes());
    read(head * head_dim_ + first, head * head_dim_ + last + 1, stored.get());
    for (int64_t row = begin; row < end; ++row)
      f(stored.get() + (stored_position(row) - first) * row_bytes(), head * head_dim_ + row, int64_t(1));
  }

  std::shared_ptr<const RandomAccess> file_;
  const GgufTypeTraits& type_;
  int64_t rows_, columns_, offset_;
  int head_dim_;
};

class GgufRows final : public RowSource {
 public:
  explicit GgufRows(StoredRows stored)
      : RowSource(stored.rows(), stored.columns(), stored_dtype(stored.type())), stored_(std::move(stored)) {}

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    CHECK(0 <= begin && begin <= end && end <= rows()) << begin << ' ' << end << ' ' << rows();
    if (begin == end) return;
    if (stored_.head_dim() != 0 && rows() == 1) return read_interleaved_vector(static_cast<std::byte*>(out));
    read_in_order(begin, end, static_cast<std::byte*>(out));
  }

 private:
  void read_in_order(int64_t begin, int64_t end, std::byte* out) const {
    const GgufTypeTraits& type = stored_.type();
    if (type.dequantize == nullptr && stored_.in_stored_order()) return stored_.read(begin, end, out);
    stored_.for_each(begin, end, [&](const std::byte* blocks, int64_t row, int64_t count) {
      std::byte* to = out + (row - begin) * row_bytes();
      if (type.dequantize == nullptr)
        std::memcpy(to, blocks, size_t(count * stored_.row_bytes()));
      else
        type.dequantize(reinterpret_cast<const uint8_t*>(blocks), count * stored_.blocks_per_row(),
                        reinterpret_cast<float*>(to));
    });
  }

  void read_interleaved_vector(std::byte* out) const {
    const auto values = scratch(row_bytes());
    read_in_order(0, 1, values.get());
    const int64_t size = bytes_per_element(dtype());
    for (int64_t i = 0; i < columns(); ++i) {
      const int64_t head = i / stored_.head_dim() * stored_.head_dim();
      std::memcpy(out + i * size, values.get() + (head + stored_.stored_position(i - head)) * size, size_t(size));
    }
  }

  StoredRows stored_;
};

class GgufIntegers final : public QuantizedRowSource {
 public:
  GgufIntegers(StoredRows stored, const GgufIntegerTraits& traits)
      : QuantizedRowSource(stored.rows(), stored.columns(), traits.format),
        stored_(std::move(stored)),
        unpack_(traits.unpack) {}

  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    const int64_t groups = stored_.blocks_per_row(), block_bytes = stored_.type().block_bytes;
    stored_.for_each(begin, end, [&](const std::byte* blocks, int64_t row, int64_t count) {
      const auto* block = reinterpret_cast<const uint8_t*>(blocks);
      const int64_t first = (row - begin) * groups;
      for (int64_t g = first; g < first + count * groups; ++g, block += block_bytes)
        unpack_(block, out.integers + g * format().group, out.scales + g,
                format().offset == Offset::kNone ? nullptr : out.offsets + g);
    });
  }

 private:
  StoredRows stored_;
  void (*unpack_)(const uint8_t*, uint8_t*, uint16_t*, uint16_t*);
};

}  // namespace

RowSourcePtr make_gguf_rows(std::shared_ptr<const RandomAccess> file, const GgufTensor& tensor,
                            int interleaved_head_dim) {
  StoredRows stored(std::move(file), tensor, interleaved_head_dim);
  const GgufIntegerTraits* integers = gguf_integer_traits(tensor.type->type);
  if (integers != nullptr && tensor.shape.size() == 2)
    return std::make_shared<GgufIntegers>(std::move(stored), *integers);
  return std::make_shared<GgufRows>(std::move(stored));
}

std::optional<StoredIntegers> stored_integers(GgufType type) {
  if (const GgufIntegerTraits* integers = gguf_integer_traits(type)) return StoredIntegers{integers->format, true};
  switch (type) {
    case GgufType::kQ4_K:
    case GgufType::kQ5_K:
      return StoredIntegers{{8, 32, Offset::kMinimum, DType::kF16}, false};
    case GgufType::kQ6_K:
      return StoredIntegers{{8, 32, Offset::kNone, DType::kF16}, false};
    default:
      return std::nullopt;
  }
}

}  // namespace updraft::checkpoint
