// Fuzzes the GGUF container: any bytes either open as a checkpoint, whose rows can be read, or are refused with Error.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/random_access.h"
#include "checkpoint/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace updraft;
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto checkpoint = checkpoint::open_gguf(std::make_shared<MemoryAccess>(bytes, "fuzz.gguf"), "fuzz.gguf");
    for (const checkpoint::TensorInfo& info : checkpoint->tensors()) {
      const int64_t rows = info.shape.size() == 2 ? info.shape[0] : 1;
      const RowSourcePtr source = checkpoint->find(info.name, rows, info.shape.back());
      std::vector<std::byte> out(static_cast<size_t>(source->row_bytes()));
      for (int64_t row = 0; row < rows; row += std::max<int64_t>(1, rows / 3))
        source->read_rows(row, row + 1, out.data());
    }
  } catch (const Error&) {
  }
  return 0;
}
