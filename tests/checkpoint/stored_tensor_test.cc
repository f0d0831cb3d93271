// Rows of a stored tensor: read, and seen where they lie.
#include "checkpoint/stored_tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace updraft::checkpoint {
namespace {

TEST(StoredTensor, RowsAreSeenWhereTheyLieAlignedAndWithoutGaps) {
  constexpr int64_t kRows = 5, kColumns = 3;
  alignas(8) std::array<std::byte, 256> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i);
  const auto file = std::make_shared<MemoryAccess>(bytes, "memory");
  for (const int64_t begin : {0, 1, 2, 4}) {
    for (const int64_t stride : {int64_t(0), kColumns, kColumns + 1}) {
      StoredTensor tensor;
      tensor.begin = begin;
      tensor.row_stride = stride;
      const RowSourcePtr rows = make_file_rows(file, tensor, DType::kF32, kRows, kColumns);
      const auto view = rows->view_rows(1, 4);
      ASSERT_EQ(view != nullptr, begin % 4 == 0 && stride != kColumns + 1) << begin << " " << stride;
      std::array<std::byte, 3 * kColumns * 4> read;
      rows->read_rows(1, 4, read.data());
      EXPECT_TRUE(!view || std::memcmp(view.get(), read.data(), read.size()) == 0) << begin << " " << stride;
    }
  }
}

}  // namespace
}  // namespace updraft::checkpoint
