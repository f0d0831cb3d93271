// A golden .safetensors file as name -> F32 or I64 values: a reader of twenty lines for tests, on purpose not the
// program's own.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace updraft::test {

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    uint64_t length = 0;
    if (bytes_.size() < 8) throw std::runtime_error("cannot read " + path.string());
    std::memcpy(&length, bytes_.data(), 8);
    header_ = nlohmann::json::parse(bytes_.begin() + 8, bytes_.begin() + 8 + std::ptrdiff_t(length));
    data_ = 8 + length;
  }

  bool has(const std::string& name) const { return header_.contains(name); }

  // Values of a tensor whose element type is T's.
  template <class T>
  std::vector<T> values(const std::string& name) const {
    const auto& offsets = header_.at(name).at("data_offsets");
    const size_t begin = offsets[0], end = offsets[1];
    std::vector<T> result((end - begin) / sizeof(T));
    std::memcpy(result.data(), bytes_.data() + data_ + begin, end - begin);
    return result;
  }

  std::string dtype(const std::string& name) const { return header_.at(name).at("dtype"); }

 private:
  std::vector<char> bytes_;
  nlohmann::json header_;
  size_t data_ = 0;
};

}  // namespace updraft::test
