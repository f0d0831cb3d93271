// GgufKeys: typed access to the keys of a GGUF file. A key of the wrong type is an Error naming file and key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf_file.h"

namespace updraft::checkpoint {

class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, const std::string& where) : file_(file), where_(where) {}

  const std::string& where() const { return where_; }
  const GgufValue* find(std::string_view key) const;

  std::optional<bool> boolean(std::string_view key) const;
  // An integer; or an array of one value repeated, as some writers give per layer (differing values are refused).
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;  // finite; integers count
  std::optional<std::string> string(std::string_view key) const;
  // Null where the key is absent.
  const std::vector<std::string>* strings(std::string_view key) const;
  const std::vector<int64_t>* integers(std::string_view key) const;
  const std::vector<float>* floats(std::string_view key) const;

  // An integer that must be there, in [1, limit].
  int64_t dimension(std::string_view key, int64_t limit) const;

 private:
  template <class T>
  const T* typed(std::string_view key, const char* kind) const;

  const GgufFile& file_;
  const std::string& where_;
};

}  // namespace updraft::checkpoint
