#include "checkpoint/quantization_config.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "checkpoint/strict_json.h"

namespace updraft::checkpoint {

using nlohmann::json;

namespace {

constexpr int64_t kLargestGroup = 1 << 22;
const std::string kOtherwise = ": take the model's F16 or BF16 files";

std::string lower(std::string text) {
  for (char& c : text) c = char(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Throws for a field that is there and means something.
void refuse_fields(const JsonFields& fields, std::initializer_list<const char*> keys, const std::string& why) {
  for (const char* key : keys)
    if (const json* value = fields.find(key); value != nullptr && !is_neutral(*value, std::nullopt))
      fields.refuse(key, why);
}

// -1 or absent: a whole row.
int64_t read_group(const JsonFields& fields, const char* key, int64_t if_absent) {
  const int64_t group = fields.integer(key, -1, kLargestGroup).value_or(if_absent);
  if (group <= 0) return 0;
  if (group % 32 != 0) fields.refuse(key, "groups of a multiple of 32 columns are supported" + kOtherwise);
  return group;
}

int read_bits(const JsonFields& fields, const char* key) {
  const int64_t bits = fields.integer(key, 1, 64).value_or(0);
  if (bits != 4 && bits != 8) fields.refuse(key, "4 and 8 bits are supported" + kOtherwise);
  return int(bits);
}

// GPTQModel's rules for single matrices: "-:pattern" leaves some out, which the tensors tell; others set them apart.
void refuse_dynamic(const JsonFields& fields) {
  const json* rules = fields.find("dynamic");
  if (rules == nullptr || is_neutral(*rules, std::nullopt)) return;
  const auto leaves_out = [](const auto& rule) { return rule.key().starts_with("-:"); };
  const auto items = rules->items();
  if (!rules->is_object() || !std::all_of(items.begin(), items.end(), leaves_out))
    fields.refuse("dynamic", "settings that differ from matrix to matrix are not supported" + kOtherwise);
}

QuantizationConfig parse_gptq(const JsonFields& fields) {
  QuantizationConfig config;
  config.method = QuantizationMethod::kGptq;
  config.bits = read_bits(fields, "bits");
  config.group = read_group(fields, "group_size", -1);
  config.symmetric = fields.boolean("sym").value_or(true);
  const std::string format = lower(fields.text("checkpoint_format").value_or("gptq"));
  if (format != "gptq" && format != "gptq_v2")
    fields.refuse("checkpoint_format", "gptq and gptq_v2 are supported: convert the model to one of them");
  config.zero_points_less_one = format == "gptq";
  config.ordered = fields.boolean("desc_act").value_or(false);
  refuse_fields(fields, {"is_marlin_format"}, "the Marlin layout is not supported: take the model's GPTQ files");
  refuse_dynamic(fields);
  if (lower(fields.text("pack_dtype").value_or("int32")) != "int32")
    fields.refuse("pack_dtype", "words of 32 bits are supported");
  return config;
}

QuantizationConfig parse_awq(const JsonFields& fields) {
  QuantizationConfig config;
  config.method = QuantizationMethod::kAwq;
  config.bits = read_bits(fields, fields.has("w_bit") ? "w_bit" : "bits");
  if (config.bits != 4)
    fields.refuse(fields.has("w_bit") ? "w_bit" : "bits", "AWQ is supported in 4 bits" + kOtherwise);
  config.group = read_group(fields, fields.has("q_group_size") ? "q_group_size" : "group_size", 128);
  if (lower(fields.text("version").value_or("gemm")) != "gemm")
    fields.refuse("version", "AWQ is supported in its GEMM layout" + kOtherwise);
  return config;
}

// One config group: the weights' arguments; activations may be rounded while computing or not at all.
WeightScheme read_scheme(const JsonFields& scheme, const std::string& where) {
  const json* object = scheme.find("weights");
  if (object == nullptr) scheme.refuse("weights", "how the weights are quantized must be said");
  const JsonFields weights(*object, where);
  WeightScheme read;
  read.bits = read_bits(weights, "num_bits");
  read.symmetric = weights.boolean("symmetric").value_or(true);
  if (lower(weights.text("type").value_or("int")) != "int")
    weights.refuse("type", "weights as integers are supported" + kOtherwise);
  const std::string strategy = lower(weights.text("strategy").value_or("group"));
  if (strategy != "group" && strategy != "channel" && strategy != "tensor")
    weights.refuse("strategy", "group, channel and tensor are supported" + kOtherwise);
  read.group = read_group(weights, "group_size", -1);
  const json* order = weights.find("actorder");  // "group" is also written as true; others keep the columns' order
  read.ordered = order != nullptr && (*order == true || *order == "group");
  const json* dynamic = weights.find("dynamic");
  if (dynamic != nullptr && !is_neutral(*dynamic, std::nullopt))
    weights.refuse("dynamic", "scales must be in the file" + kOtherwise);
  if (const json* activations = scheme.find("input_activations")) {
    const JsonFields input(*activations, where);
    const json* computed = input.find("dynamic");
    if (computed == nullptr || *computed != true)
      scheme.refuse("input_activations", "activations with scales in the file are not supported" + kOtherwise);
  }
  refuse_fields(scheme, {"output_activations"}, "rounded outputs are not supported" + kOtherwise);
  return read;
}

QuantizationConfig parse_compressed_tensors(const JsonFields& fields, const std::string& where) {
  QuantizationConfig config;
  config.method = QuantizationMethod::kCompressedTensors;
  const std::string format = fields.text("format").value_or("");
  if (format != "pack-quantized" && format != "int-quantized" && format != "naive-quantized")
    fields.refuse("format", "pack-quantized, int-quantized and naive-quantized are supported" + kOtherwise);
  const std::string status = fields.text("quantization_status").value_or("compressed");
  // "frozen": the status of before compressing, which some writers leave; the tensors tell.
  if (status != "compressed" && status != "frozen")
    fields.refuse("quantization_status", "a compressed model is needed");
  refuse_fields(fields, {"kv_cache_scheme", "transform_config"}, "is not supported" + kOtherwise);
  if (const json* sparsity = fields.find("sparsity_config"); sparsity != nullptr && !sparsity->empty()) {
    const JsonFields sparse(*sparsity, where);
    if (sparse.text("format").value_or("dense") != "dense")
      fields.refuse("sparsity_config", "sparse weights are not supported" + kOtherwise);
  }
  const json* groups = fields.find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty())
    fields.refuse("config_groups", "how the matrices are quantized must be said");
  for (const json& group : *groups) {
    if (!group.is_object()) fields.refuse("config_groups", "each group must be written out");
    config.schemes.push_back(read_scheme(JsonFields(group, where), where));
  }
  return config;
}

}  // namespace

QuantizationConfig parse_quantization_config(const json& object, const std::string& where) {
  const JsonFields fields(object, where);
  // The older files have none: AutoGPTQ's quantize_config.json, AutoAWQ's quant_config.json.
  const std::string method = lower(fields.text("quant_method").value_or(fields.has("w_bit") ? "awq" : "gptq"));
  if (method == "gptq") return parse_gptq(fields);
  if (method == "awq") return parse_awq(fields);
  if (method == "compressed-tensors") return parse_compressed_tensors(fields, where);
  fields.refuse("quant_method",
                "weights quantized in this way are not supported (gptq, awq and compressed-tensors are): take the "
                "model's F32, F16 or BF16 files");
}

}  // namespace updraft::checkpoint
