#include "checkpoint/quantize_folder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/check.h"
#include "base/error.h"
#include "base/half.h"

namespace updraft::checkpoint {
namespace {

using nlohmann::json;

DType scale_type(const Checkpoint& checkpoint) {
  // Scales are kept in the type that a loader gives to every parameter, so that none is rounded a second time.
  return checkpoint.natural_dtype() == DType::kBF16 ? DType::kBF16 : DType::kF16;
}

class NearestQuantizer final : public MatrixQuantizer {
 public:
  explicit NearestQuantizer(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void prepare(const QuantizedMatrix& matrix) override {
    source_ = checkpoint_.find(matrix.tensor.name, matrix.tensor.rows(), matrix.tensor.columns());
  }

  void quantize(const QuantizedMatrix& matrix, int64_t begin, int64_t end, const QuantizedRows& out) override {
    const int64_t columns = matrix.tensor.columns(), groups = matrix.format.groups(columns);
    std::vector<float> row(static_cast<size_t>(columns));
    for (int64_t r = begin; r < end; ++r) {
      read_rows_f32(*source_, r, r + 1, row.data());
      if (!std::all_of(row.begin(), row.end(), [](float w) { return std::isfinite(w); }))
        fail("{}: holds a weight that is not finite.", matrix.tensor.name);
      const int64_t i = r - begin;
      quantize_row(row.data(), columns, matrix.format, out.integers + i * columns, out.scales + i * groups,
                   out.offsets == nullptr ? nullptr : out.offsets + i * groups);
    }
  }

 private:
  const Checkpoint& checkpoint_;
  RowSourcePtr source_;
};

const char* type_name(DType dtype) { return dtype == DType::kF16 ? "F16" : "BF16"; }

// values[i * stride] for i < count, `bits` each, lowest first, in little-endian words of 32 bits.
template <class Value>
void pack_words(int64_t count, int bits, Value&& value, std::byte* out, int64_t word_stride) {
  const int64_t per_word = 32 / bits;
  for (int64_t begin = 0, word = 0; begin < count; begin += per_word, ++word) {
    uint32_t packed = 0;
    for (int64_t i = begin; i < std::min(count, begin + per_word); ++i)
      packed |= uint32_t(value(i)) << ((i - begin) * bits);
    std::memcpy(out + word * word_stride, &packed, sizeof packed);
  }
}

std::string shape_content(int64_t rows, int64_t columns) {
  std::string content(16, '\0');
  std::memcpy(content.data(), &rows, 8);
  std::memcpy(content.data() + 8, &columns, 8);
  return content;
}

// weight_packed, weight_scale, weight_zero_point, weight_shape of one matrix.
FolderWork quantize_work(const QuantizedMatrix& matrix, MatrixQuantizer& quantizer) {
  const QuantizedFormat& format = matrix.format;
  const int64_t rows = matrix.tensor.rows(), columns = matrix.tensor.columns(), groups = format.groups(columns);
  const int64_t per_word = 32 / format.bits, words = (columns + per_word - 1) / per_word;
  const std::string module = matrix.tensor.name.substr(0, matrix.tensor.name.rfind('.'));
  FolderWork work;
  work.rows = rows;
  work.chunk_rows = per_word;
  work.tensors = {
      {.name = module + ".weight_packed",
       .type = "I32",
       .shape = {rows, words},
       .unit_bytes = words * 4,
       .content = {}},
      {.name = module + ".weight_scale",
       .type = type_name(format.scale_type),
       .shape = {rows, groups},
       .unit_bytes = groups * 2,
       .content = {}},
      {.name = module + ".weight_shape", .type = "I64", .shape = {2}, .content = shape_content(rows, columns)}};
  const bool asymmetric = format.offset == Offset::kPoint;
  if (asymmetric)  // packed down the rows
    work.tensors.push_back({.name = module + ".weight_zero_point",
                            .type = "I32",
                            .shape = {(rows + per_word - 1) / per_word, groups},
                            .unit_rows = per_word,
                            .unit_bytes = groups * 4,
                            .content = {}});
  work.prepare = [&quantizer, matrix] { quantizer.prepare(matrix); };
  work.produce = [=, &quantizer](int64_t begin, int64_t end, std::span<std::byte* const> out) {
    std::vector<uint8_t> integers(size_t((end - begin) * columns));
    std::vector<uint16_t> offsets(asymmetric ? size_t((end - begin) * groups) : 0);
    quantizer.quantize(matrix, begin, end,
                       {integers.data(), reinterpret_cast<uint16_t*>(out[1]), asymmetric ? offsets.data() : nullptr});
    for (int64_t r = 0; r < end - begin; ++r) {
      const uint16_t* scales = reinterpret_cast<const uint16_t*>(out[1]) + r * groups;
      if (!are_finite(format, groups, scales, asymmetric ? offsets.data() + r * groups : nullptr))
        fail("{}: row {} has values too large for scales in {}, so that the model cannot be quantized.",
             matrix.tensor.name, begin + r, type_name(format.scale_type));
    }
    for (int64_t r = 0; r < end - begin; ++r)
      pack_words(
          columns, matrix.format.bits, [&](int64_t k) { return integers[size_t(r * columns + k)]; },
          out[0] + r * words * 4, 4);
    if (!asymmetric) return;
    for (int64_t g = 0; g < groups; ++g) {
      const auto zero = [&](int64_t r) {
        const uint16_t bits = offsets[size_t(r * groups + g)];
        return matrix.format.scale_type == DType::kF16 ? to_float(half_t{bits}) : to_float(bfloat16_t{bits});
      };
      pack_words(end - begin, matrix.format.bits, zero, out[3] + g * 4, groups * 4);
    }
  };
  return work;
}

// Norms and biases as they are; the other matrices in the model's type.
RowSourcePtr kept_rows(const Checkpoint& checkpoint, const DecoderTensor& tensor) {
  RowSourcePtr rows = checkpoint.find(tensor.name, tensor.rows(), tensor.columns());
  return tensor.shape.size() == 1 ? rows : convert(std::move(rows), checkpoint.natural_dtype());
}

// One config group for every size of group, which names its matrices.
json quantization_json(const std::vector<QuantizedMatrix>& plan, const QuantizeOptions& options) {
  std::map<int64_t, std::vector<std::string>> targets;  // by group; 0: a whole row
  for (const QuantizedMatrix& matrix : plan) {
    const bool channel = matrix.format.group == matrix.tensor.columns();
    std::vector<std::string>& of_group = targets[channel ? 0 : matrix.format.group];
    const std::string module = matrix.tensor.name.substr(0, matrix.tensor.name.rfind('.'));
    const std::string target = "re:.*" + module.substr(module.rfind('.') + 1) + "$";
    if (std::find(of_group.begin(), of_group.end(), target) == of_group.end()) of_group.push_back(target);
  }
  json groups = json::object();
  for (const auto& [group, names] : targets) {
    json weights = {{"num_bits", options.bits},
                    {"type", "int"},
                    {"symmetric", !options.asymmetric},
                    {"strategy", group == 0 ? "channel" : "group"},
                    {"dynamic", false}};
    weights["group_size"] = group == 0 ? json(nullptr) : json(group);
    groups["group_" + std::to_string(groups.size())] = {
        {"targets", names}, {"weights", weights}, {"input_activations", nullptr}, {"output_activations", nullptr}};
  }
  return {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"},
          {"quantization_status", "compressed"},  {"ignore", {"lm_head"}},
          {"kv_cache_scheme", nullptr},           {"config_groups", groups}};
}

}  // namespace

void read_rows_f32(const RowSource& source, int64_t begin, int64_t end, float* out) {
  const int64_t count = (end - begin) * source.columns();
  if (source.dtype() == DType::kF32) return source.read_rows(begin, end, out);
  std::vector<uint16_t> stored(static_cast<size_t>(count));
  source.read_rows(begin, end, stored.data());
  const bool half = source.dtype() == DType::kF16;
  for (size_t i = 0; i < stored.size(); ++i)
    out[i] = half ? to_float(half_t{stored[i]}) : to_float(bfloat16_t{stored[i]});
}

std::unique_ptr<MatrixQuantizer> make_nearest_quantizer(const Checkpoint& checkpoint) {
  return std::make_unique<NearestQuantizer>(checkpoint);
}

std::vector<QuantizedMatrix> plan_quantization(const Checkpoint& checkpoint, const QuantizeOptions& options) {
  CHECK(options.bits == 4 || options.bits == 8) << options.bits;
  std::vector<QuantizedMatrix> plan;
  for (DecoderTensor& tensor : decoder_tensors(checkpoint.config())) {
    if (!tensor.name.ends_with("_proj.weight")) continue;
    int64_t group = tensor.columns();
    for (const int64_t size : {32, 64, 128})
      if (size <= options.group && tensor.columns() % size == 0) group = size;
    const QuantizedFormat format{.bits = options.bits,
                                 .group = int(group),
                                 .offset = options.asymmetric ? Offset::kPoint : Offset::kNone,
                                 .scale_type = scale_type(checkpoint)};
    plan.push_back({std::move(tensor), format});
  }
  return plan;
}

void quantize_folder(const Checkpoint& checkpoint, const std::filesystem::path& folder, const QuantizeOptions& options,
                     MatrixQuantizer& quantizer, const WriteProgress& progress) {
  const DType kept = checkpoint.natural_dtype();
  const std::vector<QuantizedMatrix> plan = plan_quantization(checkpoint, options);
  std::vector<FolderWork> works;
  size_t next = 0;
  for (const DecoderTensor& tensor : decoder_tensors(checkpoint.config())) {
    if (next < plan.size() && plan[next].tensor.name == tensor.name)
      works.push_back(quantize_work(plan[next++], quantizer));
    else
      works.push_back(copy_work(tensor.name, tensor.shape, kept_rows(checkpoint, tensor)));
  }
  json config = to_json(checkpoint.config(), kept);
  config["quantization_config"] = quantization_json(plan, options);
  TextFiles texts = options.carried;
  texts.emplace_back("generation_config.json", generation_config_json(checkpoint.generation_config()));
  texts.emplace_back("config.json", config.dump(2) + "\n");
  write_works(folder, works, options.shard_bytes, checkpoint.path(), texts, progress, options.threads);
}

}  // namespace updraft::checkpoint
