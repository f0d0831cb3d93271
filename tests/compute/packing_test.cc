// Panels of every instruction set against their definition in packing.h, for every number of columns around the squares
// they are moved in, whether the rows are seen where they lie or read; pieces of an arena.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "compute/cpu/huge_memory.h"
#include "compute/cpu/integer_packing.h"
#include "compute/cpu/kernels.h"
#include "tests/support/random.h"

namespace updraft::compute::cpu {
namespace {

template <class T>
std::vector<T> random_rows(test::Random& random, int64_t columns) {
  std::vector<T> rows(size_t(kPanelRows * columns));
  for (T& value : rows) value = T(random.next());
  return rows;
}

// A panel as `pack` writes it, into memory that held something else; nothing behind it is touched.
template <class T, class Pack>
std::vector<T> packed(Pack pack, const std::vector<T>& rows, int64_t columns, int64_t padded_columns) {
  const int64_t count = padded_columns * kPanelRows;
  const HugeMemory memory((count + 64) * int64_t(sizeof(T)), "a panel");
  std::memset(memory.as<char>(), 0x5a, size_t(memory.bytes()));
  pack(rows.data(), columns, memory.as<T>());
  for (int64_t i = count; i < count + 64; ++i) EXPECT_EQ(memory.as<T>()[i], T(0x5a5a5a5a)) << columns;
  return {memory.as<T>(), memory.as<T>() + count};
}

template <class T>
std::vector<T> rows_by_definition(const std::vector<T>& rows, int64_t columns) {
  std::vector<T> panel(rows.size());
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t row = 0; row < kPanelRows; ++row)
      panel[size_t(k * kPanelRows + row)] = rows[size_t(row * columns + k)];
  return panel;
}

std::vector<uint16_t> pairs_by_definition(const std::vector<uint16_t>& rows, int64_t columns, int64_t padded_columns) {
  std::vector<uint16_t> panel(size_t(padded_columns * kPanelRows), 0);
  for (int64_t k = 0; k < columns; ++k)
    for (int64_t row = 0; row < kPanelRows; ++row)
      panel[size_t((k / 32 * 2 + row / 16) * 512 + k % 32 / 2 * 32 + row % 16 * 2 + k % 2)] =
          rows[size_t(row * columns + k)];
  return panel;
}

TEST(Packing, EveryInstructionSetWritesThePanelsOfTheDefinition) {
  test::Random random(500);
  for (const Kernels* kernels : available_kernels())
    for (int64_t columns = 1; columns <= 131; ++columns) {
      const auto halves = random_rows<uint16_t>(random, columns);
      const auto words = random_rows<uint32_t>(random, columns);
      const int64_t padded = (columns + 31) / 32 * 32;
      const LinearKernels& linear = kernels->linear;
      ASSERT_EQ(packed(linear.pack_rows16, halves, columns, columns), rows_by_definition(halves, columns))
          << kernels->name << ", " << columns << " columns of 2 bytes";
      ASSERT_EQ(packed(linear.pack_rows32, words, columns, columns), rows_by_definition(words, columns))
          << kernels->name << ", " << columns << " columns of 4 bytes";
      ASSERT_EQ(packed(linear.pack_pairs, halves, columns, padded), pairs_by_definition(halves, columns, padded))
          << kernels->name << ", " << columns << " columns in pairs";
    }
}

// Rows in memory that can be seen there, or not, and what was asked of them.
class VisibleRows final : public RowSource {
 public:
  VisibleRows(test::Random& random, int64_t rows, int64_t columns, DType dtype, bool visible)
      : RowSource(rows, columns, dtype), visible_(visible), bytes_(size_t(rows * row_bytes())) {
    std::vector<float> floats(size_t(rows * columns));
    for (float& x : floats) x = random.normal();
    available_kernels().front()->linear.convert(DType::kF32, floats.data(), dtype, bytes_.data(), rows * columns);
  }
  VisibleRows(const VisibleRows& same, bool visible)
      : RowSource(same.rows(), same.columns(), same.dtype()), visible_(visible), bytes_(same.bytes_) {}

  const std::byte* row(int64_t row) const { return bytes_.data() + row * row_bytes(); }
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::memcpy(out, row(begin), size_t((end - begin) * row_bytes()));
    rows_read += end - begin;
  }
  std::shared_ptr<const std::byte> view_rows(int64_t begin, int64_t end) const override {
    if (!visible_) return nullptr;
    rows_seen += end - begin;
    return {std::shared_ptr<const void>(), row(begin)};
  }

  mutable std::atomic<int64_t> rows_read = 0, rows_seen = 0;

 private:
  bool visible_;
  std::vector<std::byte> bytes_;
};

TEST(RowWindow, GivesTheRowsWhetherTheyAreSeenOrRead) {
  test::Random random(502);
  for (const bool visible : {false, true}) {
    const VisibleRows rows(random, 3000, 1024, DType::kBF16, visible);
    RowWindow window;
    for (int64_t piece = 0; piece < rows.rows(); piece += 1500) {  // of 3 MB
      for (int64_t begin = piece; begin < piece + 1500; begin += 100)
        ASSERT_EQ(std::memcmp(window.rows(rows, begin, begin + 100, piece + 1500), rows.row(begin),
                              size_t(100 * rows.row_bytes())),
                  0);
      window.close();
    }
    EXPECT_EQ(rows.rows_seen, visible ? 3000 : 0);  // each once
    EXPECT_EQ(rows.rows_read, visible ? 0 : 3000);
  }
  const VisibleRows small(random, 100, 1024, DType::kBF16, true);  // not worth a view
  RowWindow window;
  EXPECT_EQ(std::memcmp(window.rows(small, 10, 40, 100), small.row(10), size_t(30 * small.row_bytes())), 0);
  EXPECT_EQ(small.rows_seen, 0);
}

TEST(Packing, RowsSeenAndRowsReadBecomeTheSamePanels) {
  test::Random random(503);
  ThreadTeam team(1);  // whose pieces are large enough to be seen
  HugeArena arena;
  const Kernels& kernels = *available_kernels().back();
  const auto same = [](const HugeMemory& a, const HugeMemory& b) {
    return a.bytes() == b.bytes() && std::memcmp(a.as<char>(), b.as<char>(), size_t(a.bytes())) == 0;
  };
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto seen = std::make_shared<VisibleRows>(random, 4999, 1111, dtype, true);
    const auto read = std::make_shared<VisibleRows>(*seen, false);
    for (const auto& [packing, layout] : {std::pair{Packing::kF32, PanelLayout::kRows},
                                          {Packing::kF16, PanelLayout::kRows},
                                          {Packing::kBF16, PanelLayout::kRows},
                                          {Packing::kBF16, PanelLayout::kPairs}}) {
      const auto a = pack_matrix({{{seen, nullptr}}}, packing, layout, kernels.linear, arena, team);
      const auto b = pack_matrix({{{read, nullptr}}}, packing, layout, kernels.linear, arena, team);
      ASSERT_TRUE(same(a->weights, b->weights)) << name(dtype) << " as " << name(packing);
    }
    for (const int bits : {4, 8})
      for (const int64_t striped_bytes : {std::numeric_limits<int64_t>::max(), int64_t(0)}) {
        const QuantizedFormat format{.bits = bits};
        const auto a = pack_integers({{{quantize(seen, format), nullptr}}}, striped_bytes, kernels, arena, team);
        const auto b = pack_integers({{{quantize(read, format), nullptr}}}, striped_bytes, kernels, arena, team);
        ASSERT_TRUE(same(a->weights, b->weights)) << name(dtype) << " as " << name(format);
      }
    EXPECT_GT(seen->rows_seen, 0);
    EXPECT_EQ(read->rows_seen, 0);
  }
}

TEST(HugeArena, PiecesAreFreshApartAndOutliveIt) {
  test::Random random(501);
  std::vector<HugeMemory> pieces;
  {
    HugeArena arena;
    for (int i = 0; i < 60; ++i) {
      const int64_t bytes = random.integer(1, random.chance(0.1) ? int64_t(20) << 20 : int64_t(3) << 20);
      const HugeMemory& piece = pieces.emplace_back(arena.take(bytes, "a piece"));
      ASSERT_GE(piece.bytes(), bytes);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(piece.as<char>()) % 4096, 0u);
      for (int64_t at : {int64_t(0), bytes / 2, bytes - 1}) ASSERT_EQ(piece.as<char>()[at], 0) << i << " " << at;
      for (int64_t at : {int64_t(0), bytes - 1}) piece.as<char>()[at] = char(i + 1);
    }
    EXPECT_EQ(arena.take(0, "nothing").bytes(), 0);
  }
  for (size_t i = 0; i < pieces.size(); ++i) ASSERT_EQ(pieces[i].as<char>()[0], char(i + 1));
  while (!pieces.empty()) {  // freed in any order
    const size_t i = size_t(random.integer(0, int64_t(pieces.size()) - 1));
    std::swap(pieces[i], pieces.back());
    pieces.pop_back();
  }
}

}  // namespace
}  // namespace updraft::compute::cpu
