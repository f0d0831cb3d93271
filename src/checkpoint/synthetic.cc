// make_synthetic: a checkpoint of the exact shape of a config whose weights come from a seed instead of a file.
#include <cctype>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/decoder_tensors.h"
#include "checkpoint/synthetic_values.h"

namespace updraft::checkpoint {
namespace {

class SyntheticRows final : public RowSource {
 public:
  SyntheticRows(const DecoderTensor& tensor, DType dtype, uint64_t seed)
      : RowSource(tensor.rows(), tensor.columns(), dtype), values_(seed, tensor.name) {}

  void read_rows(int64_t begin, int64_t end, void* out) const override {
    CHECK(0 <= begin && begin <= end && end <= rows()) << begin << ' ' << end << ' ' << rows();
    values_.write(begin * columns(), end * columns(), dtype(), out);
  }

 private:
  SyntheticValues values_;
};

class SyntheticCheckpoint final : public Checkpoint {
 public:
  explicit SyntheticCheckpoint(const SyntheticOptions& options) : seed_(options.seed) {
    config_ = options.config;
    config_.dtype = options.dtype;
    generation_config_ = default_generation_config(config_);
    container_ = "synthetic";
    natural_dtype_ = options.dtype;
    std::string stored_type(name(options.dtype));
    for (char& letter : stored_type) letter = char(std::toupper(letter));
    for (DecoderTensor& tensor : decoder_tensors(config_)) {
      const int64_t bytes = tensor.rows() * tensor.columns() * bytes_per_element(options.dtype);
      infos_.push_back({tensor.name, stored_type, tensor.shape, bytes, ""});
      by_name_.emplace(tensor.name, std::move(tensor));
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }

  RowSourcePtr find(std::string_view name, int64_t rows, int64_t columns) const override {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) fail("synthetic model: there is no tensor {}.", name);
    const DecoderTensor& tensor = found->second;
    if (tensor.rows() != rows || tensor.columns() != columns)
      fail("synthetic model: tensor {} is {} x {}, not {} x {}.", name, tensor.rows(), tensor.columns(), rows, columns);
    return std::make_shared<SyntheticRows>(tensor, natural_dtype_, seed_);
  }

 private:
  uint64_t seed_;
  std::map<std::string, DecoderTensor, std::less<>> by_name_;
  std::vector<TensorInfo> infos_;
};

}  // namespace

std::unique_ptr<Checkpoint> make_synthetic(const SyntheticOptions& options) {
  return std::make_unique<SyntheticCheckpoint>(options);
}

}  // namespace updraft::checkpoint
