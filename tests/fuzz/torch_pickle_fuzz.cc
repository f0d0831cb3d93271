// Any bytes are a PyTorch file or an Error, and any bytes are a pickle or an Error. The second run puts the input into
// a sound archive as its pickle, so that the fuzzer need not find the way through the zip first.
#include "base/check.h"
#include "base/error.h"
#include "checkpoint/torch_pickle.h"
#include "tests/checkpoint/torch_file_builder.h"

using namespace updraft;

namespace {

void read(std::string_view bytes) {
  const MemoryAccess file(std::as_bytes(std::span(bytes)), "fuzz.bin");
  try {
    for (const checkpoint::StoredTensor& tensor : checkpoint::read_torch_file(file))
      CHECK(tensor.begin >= 0 && tensor.bytes >= 0 && tensor.bytes <= int64_t(bytes.size()) - tensor.begin)
          << tensor.name;
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  read(input);
  read(checkpoint::zip_of({{"a/data.pkl", input}, {"a/data/0", std::string(64, 'x')}}));
  return 0;
}
