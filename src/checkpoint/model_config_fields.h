// What the units of model_config share: the RoPE part of config.json, and the bounds that keep every later product of
// sizes inside its integer. Not for other folders.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/model_config.h"
#include "checkpoint/strict_json.h"

namespace updraft::checkpoint {

// Far above any decoder there is; the product of any three of these fits 63 bits.
constexpr int64_t kLargestHidden = 1 << 20;
constexpr int64_t kLargestIntermediate = 1 << 22;
constexpr int64_t kLargestLayers = 4096;
constexpr int64_t kLargestHeads = 1 << 14;
constexpr int64_t kLargestHeadDim = 1 << 12;
constexpr int64_t kLargestVocabulary = 1 << 24;
constexpr int64_t kLargestContext = 1 << 30;

// `where` names the file; `head_dim` and `max_context` are read already.
RopeConfig parse_rope(const JsonFields& config, int head_dim, int64_t max_context, const std::string& where);
// The v4 field rope_scaling; null for the default kind.
nlohmann::json rope_to_json(const RopeConfig&);

// Throws Error naming the first field that asks for arithmetic this decoder does not do.
void refuse_unsupported_fields(const JsonFields& config, Architecture);

}  // namespace updraft::checkpoint
