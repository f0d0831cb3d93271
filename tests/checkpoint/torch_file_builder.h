// Writes small pytorch_model.bin files, right ones and wrong ones: a zip of stored entries and the pickle in it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace updraft::checkpoint {

inline std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += char(value >> (8 * i));
  return text;
}

// --- pickle, protocol 2 ---
namespace pickled {

inline std::string text(const std::string& s) { return "X" + little_endian(s.size(), 4) + s; }
inline std::string integer(int64_t value) {
  if (value >= INT32_MIN && value <= INT32_MAX) return "J" + little_endian(uint64_t(value), 4);
  return "\x8a\x08" + little_endian(uint64_t(value), 8);
}
inline std::string tuple(const std::vector<int64_t>& values) {
  std::string all = "(";
  for (const int64_t value : values) all += integer(value);
  return all + "t";
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string storage(const std::string& type, const std::string& key, int64_t elements) {
  return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements) + "tQ";
}
// A tensor as torch.save writes it.
inline std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + integer(offset) + tuple(shape) +
         tuple(strides) + "\x89" + global("collections", "OrderedDict") + ")RtR";
}
inline std::string state_dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = std::string("\x80\x02", 2) + global("collections", "OrderedDict") + ")Rq" + '\0' + "(";
  for (const auto& [name, value] : items) all += text(name) + value;
  // as modules' state dicts have it: an attribute _metadata
  return all + "u}" + text("_metadata") + "}sb.";
}

}  // namespace pickled

// --- zip ---
struct ZipOptions {
  bool zip64 = false;
  uint16_t method = 0, flags = 0;
};

inline std::string zip_of(const std::vector<std::pair<std::string, std::string>>& entries, ZipOptions options = {}) {
  std::string file, directory;
  for (const auto& [name, data] : entries) {
    const size_t at = file.size();
    const size_t padding = (64 - (at + 30 + name.size()) % 64) % 64;  // PyTorch aligns data with the extra field
    const std::string common = little_endian(options.flags, 2) + little_endian(options.method, 2) + little_endian(0, 8);
    file += "PK\3\4" + little_endian(20, 2) + common + little_endian(data.size(), 4) + little_endian(data.size(), 4) +
            little_endian(name.size(), 2) + little_endian(padding, 2) + name + std::string(padding, 'Z') + data;
    std::string extra;
    if (options.zip64)
      extra = little_endian(1, 2) + little_endian(24, 2) + little_endian(data.size(), 8) +
              little_endian(data.size(), 8) + little_endian(at, 8);
    const uint64_t size32 = options.zip64 ? 0xffffffffu : data.size(), at32 = options.zip64 ? 0xffffffffu : at;
    directory += "PK\1\2" + little_endian(20, 2) + little_endian(20, 2) + common + little_endian(size32, 4) +
                 little_endian(size32, 4) + little_endian(name.size(), 2) + little_endian(extra.size(), 2) +
                 little_endian(0, 2) + little_endian(0, 8) + little_endian(at32, 4) + name + extra;
  }
  const size_t begin = file.size();
  file += directory;
  if (options.zip64) {
    const size_t at = file.size();
    file += "PK\6\6" + little_endian(44, 8) + little_endian(45, 2) + little_endian(45, 2) + little_endian(0, 8) +
            little_endian(entries.size(), 8) + little_endian(entries.size(), 8) + little_endian(directory.size(), 8) +
            little_endian(begin, 8);
    file += "PK\6\7" + little_endian(0, 4) + little_endian(at, 8) + little_endian(1, 4);
  }
  const uint64_t count = options.zip64 ? 0xffff : entries.size();
  return file + "PK\5\6" + little_endian(0, 4) + little_endian(count, 2) + little_endian(count, 2) +
         little_endian(options.zip64 ? 0xffffffffu : directory.size(), 4) +
         little_endian(options.zip64 ? 0xffffffffu : begin, 4) + little_endian(0, 2);
}

}  // namespace updraft::checkpoint
