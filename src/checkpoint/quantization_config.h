// QuantizationConfig: what config.json (or the older quantize_config.json) says of a checkpoint that others quantized:
// GPTQ, AWQ or compressed-tensors. What it asks for and this house cannot do is refused by name.
// Source: transformers utils/quantization_config.py (GPTQConfig, AwqConfig); compressed-tensors quant_config.py.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace updraft::checkpoint {

enum class QuantizationMethod : uint8_t { kGptq, kAwq, kCompressedTensors };

// How one of compressed-tensors' config groups has its weights.
struct WeightScheme {
  int bits = 4;
  int64_t group = 128;  // columns; 0: a whole row
  bool symmetric = true;
  bool ordered = false;  // columns are in groups of their own, which weight_g_idx names
};

struct QuantizationConfig {
  QuantizationMethod method = QuantizationMethod::kCompressedTensors;
  // GPTQ and AWQ quantize every matrix alike; compressed-tensors may have groups of matrices, whose tensors tell which.
  int bits = 4;
  int64_t group = 128;  // columns; 0: a whole row
  bool symmetric = false;
  bool zero_points_less_one = false;       // GPTQ's first format stores z - 1
  bool ordered = false;                    // GPTQ's desc_act: columns are in groups of their own, which g_idx names
  std::vector<WeightScheme> schemes = {};  // compressed-tensors
};

// `object`: the quantization_config itself; `where`: the file and, in it, the field. Throws Error.
QuantizationConfig parse_quantization_config(const nlohmann::json& object, const std::string& where);

}  // namespace updraft::checkpoint
