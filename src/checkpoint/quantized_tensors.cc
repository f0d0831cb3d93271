#include "checkpoint/quantized_tensors.h"

#include <algorithm>
#include <cstddef>
#include <set>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/decoder_tensors.h"

namespace updraft::checkpoint {
namespace {

constexpr const char* kTransposedParts[] = {"qweight", "qzeros", "scales", "g_idx"};  // GPTQ and AWQ
constexpr const char* kCompressedParts[] = {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape",
                                            "weight_g_idx"};

// The end of a part's name ("qweight"); "" for a tensor that is no part.
std::string part_of(const PlacedTensor& tensor, QuantizationMethod method) {
  const size_t dot = tensor.name.rfind('.');
  if (dot == std::string::npos) return "";
  const std::string end = tensor.name.substr(dot + 1);
  if (method != QuantizationMethod::kCompressedTensors)
    return std::find(std::begin(kTransposedParts), std::end(kTransposedParts), end) == std::end(kTransposedParts) ? ""
                                                                                                                  : end;
  if (end == "weight") return tensor.stored.type == "I8" ? end : "";
  return std::find(std::begin(kCompressedParts), std::end(kCompressedParts), end) == std::end(kCompressedParts) ? ""
                                                                                                                : end;
}

bool all_zero(const PlacedTensor& tensor) {
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.stored.bytes));
  tensor.file->read_at(tensor.stored.begin, bytes.data(), tensor.stored.bytes);
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte(0); });
}

}  // namespace

QuantizedTensors::QuantizedTensors(const ModelConfig& config, std::vector<PlacedTensor>& tensors)
    : config_(*config.quantization) {
  std::set<std::string> expected;
  for (const DecoderTensor& tensor : decoder_tensors(config)) expected.insert(tensor.name);
  std::vector<PlacedTensor> kept;
  for (PlacedTensor& tensor : tensors) {
    const std::string part = part_of(tensor, config_.method);
    if (!part.empty()) {
      Matrix& matrix = matrices_[tensor.name.substr(0, tensor.name.rfind('.')) + ".weight"];
      matrix.bytes += tensor.stored.bytes;
      if (matrix.file.empty() || part == "qweight" || part == "weight_packed" || part == "weight")
        matrix.file = tensor.file->name();
      matrix.stored[part] = {tensor.file, std::move(tensor.stored)};
    } else if (config_.method != QuantizationMethod::kGptq || !tensor.name.ends_with("_proj.bias") ||
               expected.count(tensor.name) > 0 || !all_zero(tensor)) {
      kept.push_back(std::move(tensor));
    }
  }
  tensors = std::move(kept);
  for (const auto& [name, matrix] : matrices_) {
    if (parts_of(matrix).integers == nullptr) {
      const auto& [part, located] = *matrix.stored.begin();
      fail("{}: has the {} of the quantized {}, but not its integers; is a file of the model missing?",
           located.file->where(), part, name);
    }
  }
}

QuantizedParts QuantizedTensors::parts_of(const Matrix& matrix) const {
  const auto get = [&](std::initializer_list<const char*> names) -> const LocatedTensor* {
    for (const char* name : names)
      if (const auto found = matrix.stored.find(name); found != matrix.stored.end()) return &found->second;
    return nullptr;
  };
  return {.integers = get({"qweight", "weight_packed", "weight"}),
          .scales = get({"scales", "weight_scale"}),
          .zeros = get({"qzeros", "weight_zero_point"}),
          .groups = get({"g_idx", "weight_g_idx"}),
          .shape = get({"weight_shape"})};
}

std::vector<TensorInfo> QuantizedTensors::infos() const {
  std::vector<TensorInfo> infos;
  for (const auto& [name, matrix] : matrices_) {
    const QuantizedParts parts = parts_of(matrix);
    std::string type = parts.integers->stored.type;  // "I8", or the method where the words say nothing
    if (config_.method == QuantizationMethod::kGptq) type = "GPTQ";
    if (config_.method == QuantizationMethod::kAwq) type = "AWQ";
    if (parts.integers->stored.type == "I32" && config_.method == QuantizationMethod::kCompressedTensors)
      type = "packed";
    if (parts.scales != nullptr && parts.scales->stored.type == "F32") type += ", scales F32 read as F16";
    std::optional<StoredIntegers> integers;
    if (const auto format = packed_format(name, parts, config_)) integers = {*format, true};
    infos.push_back({name, type, packed_shape(name, parts, config_), matrix.bytes, matrix.file, integers});
  }
  return infos;
}

RowSourcePtr QuantizedTensors::find(std::string_view name, int64_t rows, int64_t columns) const {
  const auto found = matrices_.find(name);
  CHECK(found != matrices_.end()) << name;
  return make_packed_rows(found->first, parts_of(found->second), config_, rows, columns);
}

}  // namespace updraft::checkpoint
