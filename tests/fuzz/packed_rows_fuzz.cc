// Parts of a quantized matrix of any shapes, types and bytes: read or refused, never a step outside.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "checkpoint/packed_rows.h"

using namespace updraft;
using namespace updraft::checkpoint;

namespace {

// Takes numbers from the front of the input.
class Feed {
 public:
  Feed(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() { return size_ == 0 ? 0 : (--size_, *data_++); }
  int64_t below(int64_t n) { return byte() % n; }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Feed feed(data, size);
  QuantizationConfig config;
  config.method = QuantizationMethod(feed.below(3));
  config.bits = feed.below(2) == 0 ? 4 : 8;
  config.group = 32 * feed.below(5);
  config.symmetric = feed.below(2) == 0;
  config.zero_points_less_one = feed.below(2) == 0;
  for (const int bits : {4, 8}) config.schemes.push_back({bits, config.group, feed.below(2) == 0});
  const int64_t rows = 8 * (1 + feed.below(4)), columns = 32 * (1 + feed.below(6));
  const int64_t sizes[] = {1, 2, rows, columns, rows / 8, rows / 4, columns / 8, columns / 4, columns / 32, rows + 1};
  constexpr const char* kTypes[] = {"I32", "I8", "F16", "BF16", "F32", "I64"};
  constexpr int64_t kBytes[] = {4, 1, 2, 2, 4, 8};

  std::vector<std::vector<std::byte>> memory;
  std::vector<LocatedTensor> tensors;
  memory.reserve(5), tensors.reserve(5);
  const auto make = [&]() -> const LocatedTensor* {
    if (feed.below(8) == 0) return nullptr;
    const auto type = size_t(feed.below(6));
    StoredTensor stored{.name = "part", .type = kTypes[type], .shape = {sizes[feed.below(10)]}};
    if (feed.below(4) != 0) stored.shape.push_back(sizes[feed.below(10)]);
    stored.bytes = kBytes[type];
    for (const int64_t n : stored.shape) stored.bytes *= n;
    std::vector<std::byte>& bytes = memory.emplace_back(size_t(stored.bytes));
    const uint8_t low = feed.byte(), step = feed.byte();
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(uint8_t(low + step * i));
    if (type == 5 || stored.shape[0] == 2)  // often what weight_shape should say
      if (const int64_t shape[] = {rows, columns}; bytes.size() == sizeof shape)
        std::memcpy(bytes.data(), shape, sizeof shape);
    tensors.push_back({std::make_shared<MemoryAccess>(bytes, "file"), std::move(stored)});
    return &tensors.back();
  };
  QuantizedParts parts{make(), make(), make(), make(), make()};
  if (parts.integers == nullptr) return 0;
  try {
    const auto source = make_packed_rows("w", parts, config, rows, columns);
    std::vector<float> values(size_t(rows * columns));
    source->read_rows(0, rows, values.data());
  } catch (const Error&) {
  }
  return 0;
}
