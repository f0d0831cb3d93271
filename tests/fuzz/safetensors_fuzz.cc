// Any bytes are a safetensors file or an Error; tensors that are found lie inside them.
#include "base/check.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"

using namespace updraft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryAccess file(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
  try {
    for (const checkpoint::StoredTensor& tensor : checkpoint::read_safetensors(file))
      CHECK(tensor.begin >= 8 && tensor.bytes >= 0 && tensor.bytes <= int64_t(size) - tensor.begin) << tensor.name;
  } catch (const Error&) {
  }
  return 0;
}
