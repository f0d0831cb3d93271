#include "checkpoint/safetensors.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "checkpoint/strict_json.h"

namespace updraft::checkpoint {

using nlohmann::json;

namespace {

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kLargestHeader = 100'000'000;  // the reference's limit

struct TypeBits {
  std::string_view name;
  int bits;
};
constexpr TypeBits kTypes[] = {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                               {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                               {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                               {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                               {"I64", 64},        {"U64", 64}};

int64_t read_header_length(const RandomAccess& file) {
  if (file.size() < kLengthBytes)
    fail("{}: has {} bytes, too few for a safetensors file; fetch it again.", file.where(), file.size());
  unsigned char bytes[kLengthBytes];
  file.read_at(0, bytes, kLengthBytes);
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) length = length << 8 | bytes[i];
  if (length > uint64_t(kLargestHeader))
    fail("{}: is not a safetensors file, or is damaged: its header would have {} bytes (at most {} are allowed).",
         file.where(), length, kLargestHeader);
  if (int64_t(length) > file.size() - kLengthBytes)
    fail("{}: is cut off: its header needs {} bytes, the file has {}; fetch it again.", file.where(),
         length + kLengthBytes, file.size());
  return int64_t(length);
}

void check_metadata(const json& metadata, const std::string& where) {
  bool good = metadata.is_object() || metadata.is_null();
  if (metadata.is_object())
    for (const json& value : metadata) good = good && value.is_string();
  if (!good) fail("{}: its __metadata__ is not a map from strings to strings.", where);
}

// A list of sizes or offsets; nothing when it is anything else.
std::optional<std::vector<int64_t>> read_sizes(const json& entry, const char* key) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) return std::nullopt;
  std::vector<int64_t> sizes;
  sizes.reserve(found->size());
  for (const json& size : *found) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > uint64_t(INT64_MAX)) return std::nullopt;
    sizes.push_back(int64_t(size.get<uint64_t>()));
  }
  return sizes;
}

// One entry of the header; its begin is still relative to the data.
StoredTensor read_entry(const std::string& name, const json& entry, const std::string& where) {
  StoredTensor tensor;
  tensor.name = name;
  const auto wrong = [&](const std::string& what) { fail("{}: tensor {}: {}.", where, show(name), what); };
  if (!entry.is_object()) wrong("its header entry is not an object");
  const auto type = entry.find("dtype");
  if (type == entry.end() || !type->is_string()) wrong("has no dtype");
  tensor.type = type->get<std::string>();
  const int bits = bits_of_safetensors_type(tensor.type);
  if (bits == 0) wrong("has the unknown dtype " + show(*type));
  const auto shape = read_sizes(entry, "shape");
  if (!shape) wrong("its shape is not a list of sizes");
  tensor.shape = *shape;
  const auto offsets = read_sizes(entry, "data_offsets");
  if (!offsets || offsets->size() != 2) wrong("its data_offsets are not two offsets");
  const int64_t begin = (*offsets)[0], end = (*offsets)[1];
  if (end < begin) wrong(fmt::format("ends (at {}) before it begins (at {})", end, begin));
  const std::optional<int64_t> elements = element_count(tensor.shape);
  int64_t all_bits = 0;
  if (!elements || __builtin_mul_overflow(*elements, int64_t(bits), &all_bits))
    wrong("its shape " + show_shape(tensor.shape) + " is too large");
  if (all_bits % 8 != 0) wrong(fmt::format("its {} elements of {} bits do not fill whole bytes", *elements, bits));
  if (end - begin != all_bits / 8)
    wrong(fmt::format("{} {} needs {} bytes, but data_offsets give it {}", tensor.type, show_shape(tensor.shape),
                      all_bits / 8, end - begin));
  tensor.begin = begin;
  tensor.bytes = end - begin;
  return tensor;
}

// Sorts by position; the tensors must follow one another from the start of the data to the end of the file.
void place(std::vector<StoredTensor>& tensors, int64_t data_begin, const RandomAccess& file) {
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.bytes < b.bytes;
  });
  const int64_t data_bytes = file.size() - data_begin;
  int64_t at = 0;
  for (StoredTensor& tensor : tensors) {
    if (tensor.begin != at)
      fail("{}: tensor {} begins at {} where the tensor before it ends at {}: tensors {}.", file.where(),
           show(tensor.name), tensor.begin, at, tensor.begin < at ? "overlap" : "leave a hole");
    if (tensor.bytes > data_bytes - at)
      fail("{}: is cut off: tensor {} needs {} bytes from offset {} of the data, which has {}; fetch it again.",
           file.where(), show(tensor.name), tensor.bytes, at, data_bytes);
    at += tensor.bytes;
    tensor.begin += data_begin;
  }
  if (at != data_bytes)
    fail("{}: has {} bytes after its last tensor; it is damaged or not what it says: fetch it again.", file.where(),
         data_bytes - at);
}

}  // namespace

int bits_of_safetensors_type(std::string_view type) {
  for (const TypeBits& known : kTypes)
    if (known.name == type) return known.bits;
  return 0;
}

std::vector<StoredTensor> read_safetensors(const RandomAccess& file) {
  const int64_t length = read_header_length(file);
  std::string text(size_t(length), '\0');
  file.read_at(kLengthBytes, text.data(), length);
  const json header = parse_json(text, file.where());
  if (!header.is_object()) fail("{}: its header is not a JSON object.", file.where());
  std::vector<StoredTensor> tensors;
  tensors.reserve(header.size());
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(entry, file.where());
    } else {
      tensors.push_back(read_entry(name, entry, file.where()));
    }
  }
  place(tensors, kLengthBytes + length, file);
  return tensors;
}

}  // namespace updraft::checkpoint
