#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/check.h"

namespace updraft::model {
namespace {

using checkpoint::ModelConfig;
using checkpoint::RopeConfig;
using checkpoint::RopeKind;

int64_t original_context(const ModelConfig& config) {
  return config.rope.original_context > 0 ? config.rope.original_context : config.max_context;
}

// theta^(2i / head_dim), rounded to F32 after each operation, as the reference does.
std::vector<float> powers(float theta, int head_dim) {
  std::vector<float> result(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < result.size(); ++i) {
    const float exponent = float(2 * i) / float(head_dim);
    result[i] = float(std::pow(double(theta), double(exponent)));
  }
  return result;
}

std::vector<float> inverse(std::vector<float> values) {
  for (float& value : values) value = 1.0f / value;
  return values;
}

// The base grows with the context, so that the longest wavelength spans it ("NTK-aware").
float dynamic_theta(const ModelConfig& config, int64_t context_tokens) {
  const float factor = float(config.rope.factor);
  const float context = float(std::max(context_tokens, config.max_context));
  const float stretch = factor * context / float(config.max_context) - (factor - 1.0f);
  const double exponent = double(config.head_dim) / double(config.head_dim - 2);
  return float(config.rope.theta) * float(std::pow(double(stretch), exponent));
}

// Index of the pair that makes `rotations` turns over the original context.
double yarn_pair(const ModelConfig& config, double rotations) {
  return config.head_dim * std::log(double(original_context(config)) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(config.rope.theta));
}

// Fast pairs keep their frequency, slow ones are interpolated, those between are mixed. Source: Peng et al. 2023.
std::vector<float> yarn_frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  double low = yarn_pair(config, rope.beta_fast), high = yarn_pair(config, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, double(config.head_dim - 1));
  if (low == high) high += 0.001;
  std::vector<float> result = powers(float(rope.theta), config.head_dim);
  for (size_t i = 0; i < result.size(); ++i) {
    const float ramp = std::clamp((float(i) - float(low)) / float(high - low), 0.0f, 1.0f);
    const float kept = 1.0f - ramp;
    const float extrapolated = 1.0f / result[i], interpolated = 1.0f / (float(rope.factor) * result[i]);
    result[i] = interpolated * (1.0f - kept) + extrapolated * kept;
  }
  return result;
}

// Short wavelengths stay, long ones are divided by the factor, those between are smoothed. Source: Llama 3.1.
std::vector<float> llama3_frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const double context = double(original_context(config));
  const float longest = float(context / rope.low_frequency_factor),
              shortest = float(context / rope.high_frequency_factor);
  const float factor = float(rope.factor), low = float(rope.low_frequency_factor);
  std::vector<float> result = inverse(powers(float(rope.theta), config.head_dim));
  for (float& frequency : result) {
    const float wavelength = (1.0f / frequency) * float(2 * std::numbers::pi);
    if (wavelength > longest) {
      frequency = frequency / factor;
    } else if (wavelength >= shortest) {
      const float smooth =
          ((1.0f / wavelength) * float(context) - low) / float(rope.high_frequency_factor - rope.low_frequency_factor);
      frequency = (1.0f - smooth) * frequency / factor + smooth * frequency;
    }
  }
  return result;
}

// One factor for every pair, another list beyond the original context. Source: Ding et al. 2024.
std::vector<float> longrope_frequencies(const ModelConfig& config, bool beyond) {
  const std::vector<double>& factors = beyond ? config.rope.long_factor : config.rope.short_factor;
  std::vector<float> result = powers(float(config.rope.theta), config.head_dim);
  CHECK(factors.size() == result.size()) << factors.size() << " factors for " << result.size() << " pairs";
  for (size_t i = 0; i < result.size(); ++i) result[i] = 1.0f / (float(factors[i]) * result[i]);
  return result;
}

std::vector<float> inverse_frequencies(const ModelConfig& config, int64_t context_tokens) {
  switch (config.rope.kind) {
    case RopeKind::kYarn:
      return yarn_frequencies(config);
    case RopeKind::kLlama3:
      return llama3_frequencies(config);
    case RopeKind::kLongrope:
      return longrope_frequencies(config, rope_table_key(config, context_tokens) == 1);
    case RopeKind::kDynamic:
      return inverse(powers(dynamic_theta(config, context_tokens), config.head_dim));
    case RopeKind::kDefault:
    case RopeKind::kLinear:
      break;
  }
  std::vector<float> result = inverse(powers(float(config.rope.theta), config.head_dim));
  if (config.rope.kind == RopeKind::kLinear)
    for (float& frequency : result) frequency /= float(config.rope.factor);
  return result;
}

double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

// What cos and sin are multiplied by.
double attention_factor(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  if (rope.kind != RopeKind::kYarn && rope.kind != RopeKind::kLongrope) return 1;
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.kind == RopeKind::kLongrope)
    return rope.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(rope.factor) / std::log(double(original_context(config))));
  // transformers takes 0 for absent here
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0)
    return yarn_scale(rope.factor, *rope.mscale) / yarn_scale(rope.factor, *rope.mscale_all_dim);
  return yarn_scale(rope.factor, 1);
}

}  // namespace

std::shared_ptr<const compute::RopeTable> make_rope_table(const ModelConfig& config, int64_t context_tokens,
                                                          int64_t positions) {
  const std::vector<float> frequencies = inverse_frequencies(config, context_tokens);
  const double factor = attention_factor(config);
  auto table = std::make_shared<compute::RopeTable>();
  table->positions = positions;
  table->pairs = int64_t(frequencies.size());
  table->cos.reserve(size_t(positions * table->pairs));
  table->sin.reserve(size_t(positions * table->pairs));
  for (int64_t position = 0; position < positions; ++position)
    for (float frequency : frequencies) {
      const double angle = double(position) * double(frequency);
      table->cos.push_back(float(std::cos(angle) * factor));
      table->sin.push_back(float(std::sin(angle) * factor));
    }
  return table;
}

int64_t rope_table_key(const ModelConfig& config, int64_t context_tokens) {
  switch (config.rope.kind) {
    case RopeKind::kDynamic:
      return std::max(context_tokens, config.max_context);
    case RopeKind::kLongrope:
      return context_tokens > original_context(config) ? 1 : 0;
    default:
      return 0;
  }
}

}  // namespace updraft::model
