#include "checkpoint/folder.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/error.h"
#include "checkpoint/decoder_tensors.h"
#include "checkpoint/quantized_tensors.h"
#include "checkpoint/strict_json.h"
#include "checkpoint/weight_files.h"

namespace updraft::checkpoint {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kLargestConfig = 16 << 20;
constexpr int64_t kComparedAtOnce = 1 << 18;  // values

// The type in which most of the weights' bytes are stored.
std::optional<DType> most_common_type(const WeightFiles& weights) {
  std::map<DType, int64_t> bytes;
  for (const PlacedTensor& tensor : weights.tensors)
    if (const auto dtype = dtype_of(tensor.stored.type)) bytes[*dtype] += tensor.stored.bytes;
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? std::nullopt : std::optional(most->first);
}

class FolderCheckpoint final : public Checkpoint {
 public:
  explicit FolderCheckpoint(const fs::path& folder) {
    path_ = folder;
    const fs::path config = folder / "config.json";
    if (!is_there(config)) fail("{}: there is no config.json; is this the folder of a model?", folder.string());
    const nlohmann::json fields = parse_json(read_text_file(config, kLargestConfig), config.string());
    config_ = parse_model_config(fields, config.string());
    for (const char* older : {"quantize_config.json", "quant_config.json"}) read_older_quantization(folder / older);
    read_generation_config(folder / "generation_config.json", fields, config);
    weights_ = open_weight_files(folder);
    container_ = weights_.container;
    if (config_.quantization) quantized_.emplace(config_, weights_.tensors);
    // As transformers does: the type that config.json names, else the one the weights have.
    natural_dtype_ = config_.dtype.value_or(most_common_type(weights_).value_or(DType::kBF16));
    for (const PlacedTensor& tensor : weights_.tensors)
      tensors_.push_back(
          {tensor.name, tensor.stored.type, tensor.stored.shape, tensor.stored.bytes, tensor.file->name()});
    if (quantized_) {
      for (TensorInfo& info : quantized_->infos()) tensors_.push_back(std::move(info));
      std::sort(tensors_.begin(), tensors_.end(),
                [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
    }
    if (config_.tied_embeddings && brings_other_head()) config_.tied_embeddings = false;
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }

  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const override {
    if (quantized_ && quantized_->has(name)) return quantized_->find(name, rows, columns);
    const auto found = std::lower_bound(weights_.tensors.begin(), weights_.tensors.end(), name,
                                        [](const PlacedTensor& a, std::string_view b) { return a.name < b; });
    if (found == weights_.tensors.end() || found->name != name) {
      refuse_undeclared_quantization(name);
      fail("{}: there is no tensor {}, which config.json calls for; {}", path_.string(), name, why_missing());
    }
    const PlacedTensor& tensor = *found;
    const std::vector<int64_t>& shape = tensor.stored.shape;
    const bool vector = shape.size() == 1 && rows == 1 && shape[0] == columns;
    const bool matrix = shape.size() == 2 && shape[0] == rows && shape[1] == columns;
    if (!vector && !matrix)
      fail("{}: tensor {} has the shape {}, but config.json calls for [{}, {}].", tensor.file->where(), name,
           show_shape(shape), rows, columns);
    const auto dtype = dtype_of(tensor.stored.type);
    if (!dtype)
      fail("{}: tensor {} is stored as {}, which is not supported; F32, F16 and BF16 are.", tensor.file->where(), name,
           tensor.stored.type);
    return make_file_rows(tensor.file, tensor.stored, *dtype, rows, columns);
  }

 private:
  void refuse_undeclared_quantization(std::string_view name) const {
    const std::string module(name.substr(0, name.rfind('.')));
    for (const char* part : {".qweight", ".weight_packed"})
      if (const TensorInfo* there = quantized_ ? nullptr : info(module + part))
        fail(
            "{}: the weights are quantized ({} has {} for {}), but config.json has no quantization_config that says "
            "how; fetch the config.json that belongs to them, or its quantize_config.json or quant_config.json.",
            path_.string(), there->file, there->name, name);
  }

  // A tensor that config.json does not call for may be the missing one under another name.
  std::string why_missing() const {
    std::set<std::string> called_for;
    for (const DecoderTensor& tensor : decoder_tensors(config_)) called_for.insert(tensor.name);
    for (const TensorInfo& tensor : tensors_)
      if (called_for.count(tensor.name) == 0)
        return fmt::format("{} has {}, which it does not call for: is it misnamed?", tensor.file, tensor.name);
    return "is a file of the model missing?";
  }

  void read_generation_config(const fs::path& path, const nlohmann::json& model_fields, const fs::path& model_path) {
    generation_config_ =
        is_there(path)
            ? parse_generation_config(parse_json(read_text_file(path, kLargestConfig), path.string()), path.string())
            : generation_config_of_model(model_fields, model_path.string());
    const GenerationConfig derived = default_generation_config(config_);
    // A file that is silent about the special tokens must not make generation endless.
    if (generation_config_.bos_ids.empty()) generation_config_.bos_ids = derived.bos_ids;
    if (generation_config_.eos_ids.empty()) generation_config_.eos_ids = derived.eos_ids;
    if (generation_config_.pad_ids.empty()) generation_config_.pad_ids = derived.pad_ids;
  }

  // Where AutoGPTQ and AutoAWQ put it before config.json had a place for it.
  void read_older_quantization(const fs::path& path) {
    if (config_.quantization || !is_there(path)) return;
    config_.quantization =
        parse_quantization_config(parse_json(read_text_file(path, kLargestConfig), path.string()), path.string());
  }

  // Beside the table that config.json has the head share, as in transformers (modeling_utils.tie_weights): a head of
  // other values is the model's own, whatever config.json says.
  bool brings_other_head() const {
    constexpr const char *kTable = "model.embed_tokens.weight", *kHead = "lm_head.weight";
    if (info(kTable) == nullptr || info(kHead) == nullptr) return false;
    const int64_t rows = config_.vocabulary_size, columns = config_.hidden_size;
    const RowSourcePtr table = convert(find(kTable, rows, columns), DType::kF32);
    const RowSourcePtr head = convert(find(kHead, rows, columns), DType::kF32);
    const int64_t at_once = std::max<int64_t>(1, kComparedAtOnce / columns);
    std::vector<float> a(size_t(at_once * columns)), b(a.size());
    for (int64_t row = 0; row < rows; row += at_once) {
      const int64_t end = std::min(row + at_once, rows);
      table->read_rows(row, end, a.data());
      head->read_rows(row, end, b.data());
      if (std::memcmp(a.data(), b.data(), size_t((end - row) * columns) * sizeof(float)) != 0) return true;
    }
    return false;
  }

  WeightFiles weights_;                        // sorted by name; without the parts of quantized matrices
  std::optional<QuantizedTensors> quantized_;  // these
  std::vector<TensorInfo> tensors_;            // sorted by name
};

}  // namespace

std::unique_ptr<Checkpoint> open_folder(const fs::path& folder) { return std::make_unique<FolderCheckpoint>(folder); }

}  // namespace updraft::checkpoint
