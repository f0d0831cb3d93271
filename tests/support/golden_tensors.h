// Reads a golden's .safetensors whole, of any type: ids are I64, exact logits F64. For tests only; they are small.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/safetensors.h"

namespace updraft::test {

struct GoldenTensor {
  std::string type;  // "F32", "F64", "I64"
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  // T must be the type: float, double, int64_t.
  template <class T>
  std::vector<T> values() const {
    const char* expected = std::is_same_v<T, float> ? "F32" : std::is_same_v<T, double> ? "F64" : "I64";
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, int64_t>);
    if (type != expected) fail("a golden is {}, not {}", type, expected);
    std::vector<T> all(bytes.size() / sizeof(T));
    if (!all.empty()) std::memcpy(all.data(), bytes.data(), bytes.size());
    return all;
  }
};

inline std::map<std::string, GoldenTensor> read_golden_tensors(const std::filesystem::path& path) {
  const File file(path);
  std::map<std::string, GoldenTensor> all;
  for (const checkpoint::StoredTensor& stored : checkpoint::read_safetensors(file)) {
    GoldenTensor& tensor = all[stored.name];
    tensor.type = stored.type;
    tensor.shape = stored.shape;
    tensor.bytes.resize(size_t(stored.bytes));
    file.read_at(stored.begin, tensor.bytes);
  }
  return all;
}

}  // namespace updraft::test
