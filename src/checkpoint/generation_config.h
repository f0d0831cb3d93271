// GenerationConfig: the defaults a model's authors chose (generation_config.json; absent: what config.json has of
// them). Precedence: the request's own settings, then these, then transformers' defaults (greedy; top_k 50 once
// sampling is on).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace updraft::checkpoint {

struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, repetition_penalty;
  std::optional<int64_t> top_k, max_new_tokens, max_length, min_new_tokens, no_repeat_ngram_size;
  std::vector<std::vector<int32_t>> bad_words;  // bad_words_ids
  std::vector<std::pair<std::vector<int32_t>, double>> sequence_bias;
  std::vector<int32_t> suppressed_ids, begin_suppressed_ids;  // suppress_tokens, begin_suppress_tokens
  std::vector<int32_t> bos_ids, eos_ids, pad_ids;
  std::vector<std::string> stop_strings;
};

GenerationConfig parse_generation_config(const nlohmann::json&, const std::string& where);
// From config.json, where older models have these settings and their defaults; for folders without a file of their own.
GenerationConfig generation_config_of_model(const nlohmann::json&, const std::string& where);
GenerationConfig default_generation_config(const ModelConfig&);  // the special tokens alone

}  // namespace updraft::checkpoint
