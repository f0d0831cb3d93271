#include "checkpoint/gguf.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/decoder_tensors.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_rows.h"

namespace updraft::checkpoint {
namespace {

// Parts of a layer: the file's name and Hugging Face's.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kLayerParts = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

// "blk.3.attn_q.bias" -> "model.layers.3.self_attn.q_proj.bias"; empty for a name that is not a decoder's.
std::string hugging_face_name(std::string_view name) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  if (name.substr(0, 4) != "blk.") return {};
  name.remove_prefix(4);
  int layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  name.remove_prefix(size_t(end - name.data()));
  if (error != std::errc() || layer < 0 || name.empty() || name.front() != '.') return {};
  name.remove_prefix(1);
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  for (const auto& [part, ours] : kLayerParts)
    if (part == name.substr(0, dot)) return fmt::format("model.layers.{}.{}{}", layer, ours, name.substr(dot));
  return {};
}

// Tensors that are read as part of the config, or that repeat what the config says.
bool is_rope_tensor(std::string_view name) {
  return name.substr(0, 5) == "rope_" || name.find(".attn_rot_embd.") != std::string_view::npos;
}

DType natural_type(const std::vector<GgufTensor>& tensors) {
  DType natural = DType::kF32;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.type->type == GgufType::kF32) continue;
    if (tensor.type->type != GgufType::kBF16) return DType::kF16;
    natural = DType::kBF16;
  }
  return natural;
}

class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(std::shared_ptr<const RandomAccess> file, const std::filesystem::path& path)
      : file_(std::move(file)), where_(file_->where()) {
    container_ = "gguf";
    path_ = path;
    const GgufFile parsed = parse_gguf(*file_);
    config_ = gguf_model_config(parsed, where_, [&](const GgufTensor& tensor) {
      std::vector<float> values(size_t(tensor.bytes / 4));
      file_->read_at(tensor.offset, values.data(), tensor.bytes);
      return values;
    });
    interleaved_ = config_.architecture == Architecture::kLlama || config_.architecture == Architecture::kMistral;
    generation_config_ = gguf_generation_config(parsed, where_, config_);
    vocabulary_ = gguf_vocabulary(parsed, where_, config_);
    natural_dtype_ = natural_type(parsed.tensors);
    config_.dtype = natural_dtype_;
    match_tensors(parsed);
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }

  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const override {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) fail("{}: there is no tensor {} in this file.", where_, name);
    const GgufTensor& tensor = found->second;
    const int64_t tensor_rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    if (tensor_rows != rows || tensor.shape.back() != columns)
      fail("{}: tensor {} is {} x {}, but the config asks for {} x {}.", where_, tensor.name, tensor_rows,
           tensor.shape.back(), rows, columns);
    const bool rotary =
        name.find(".q_proj.") != std::string_view::npos || name.find(".k_proj.") != std::string_view::npos;
    return make_gguf_rows(file_, tensor, interleaved_ && rotary ? config_.head_dim : 0);
  }

  const EmbeddedVocabulary* vocabulary() const override { return vocabulary_.model.empty() ? nullptr : &vocabulary_; }

 private:
  // Every tensor that the config implies must be there in its shape, and nothing else.
  void match_tensors(const GgufFile& parsed) {
    for (const GgufTensor& tensor : parsed.tensors) {
      if (is_rope_tensor(tensor.name)) continue;
      const std::string name = hugging_face_name(tensor.name);
      if (name.empty()) fail("{}: tensor {} is not part of a supported decoder.", where_, tensor.name);
      by_name_.emplace(name, tensor);
    }
    for (const DecoderTensor& expected : decoder_tensors(config_)) {
      const auto found = by_name_.find(expected.name);
      if (found == by_name_.end())
        fail("{}: the tensor for {} is missing; the file is incomplete.", where_, expected.name);
      const GgufTensor& tensor = found->second;
      if (tensor.shape != expected.shape)
        fail("{}: tensor {} has shape [{}], but the keys imply [{}].", where_, tensor.name,
             fmt::join(tensor.shape, ", "), fmt::join(expected.shape, ", "));
      infos_.push_back({expected.name, std::string(tensor.type->name), tensor.shape, tensor.bytes,
                        path_.filename().string(),
                        tensor.shape.size() == 2 ? stored_integers(tensor.type->type) : std::nullopt});
    }
    if (infos_.size() == by_name_.size()) return;
    std::set<std::string_view> expected;
    for (const TensorInfo& info : infos_) expected.insert(info.name);
    for (const auto& [name, tensor] : by_name_)
      if (expected.count(name) == 0)
        fail("{}: tensor {} has no place in the model that the keys describe.", where_, tensor.name);
  }

  std::shared_ptr<const RandomAccess> file_;
  std::string where_;
  bool interleaved_ = false;
  std::map<std::string, GgufTensor, std::less<>> by_name_;  // Hugging Face's names
  std::vector<TensorInfo> infos_;
  EmbeddedVocabulary vocabulary_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path) {
  return open_gguf(std::make_shared<File>(path), path);
}

std::unique_ptr<Checkpoint> open_gguf(std::shared_ptr<const RandomAccess> file, const std::filesystem::path& path) {
  return std::make_unique<GgufCheckpoint>(std::move(file), path);
}

}  // namespace updraft::checkpoint
