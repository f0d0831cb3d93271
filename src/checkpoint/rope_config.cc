#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "checkpoint/model_config.h"
#include "checkpoint/model_config_fields.h"

namespace updraft::checkpoint {

using nlohmann::json;

namespace {

struct KindName {
  const char* name;
  RopeKind kind;
};
constexpr KindName kKinds[] = {{"default", RopeKind::kDefault}, {"linear", RopeKind::kLinear},
                               {"dynamic", RopeKind::kDynamic}, {"yarn", RopeKind::kYarn},
                               {"llama3", RopeKind::kLlama3},   {"longrope", RopeKind::kLongrope}};

// Everything that transformers reads in rope_scaling / rope_parameters. Another key would go unheard: it is refused.
constexpr const char* kKnownKeys[] = {"rope_type",        "type",
                                      "rope_theta",       "factor",
                                      "beta_fast",        "original_max_position_embeddings",
                                      "beta_slow",        "attention_factor",
                                      "mscale",           "mscale_all_dim",
                                      "truncate",         "low_freq_factor",
                                      "high_freq_factor", "short_factor",
                                      "long_factor",      "partial_rotary_factor",
                                      "finetuned"};

constexpr double kLargestFactor = 1e6;

// v4 says rope_scaling, v5 rope_parameters; transformers prefers the former where a file has both.
const char* scaling_key(const JsonFields& config) {
  if (const json* scaling = config.find("rope_scaling"); scaling != nullptr && !scaling->empty()) return "rope_scaling";
  return config.has("rope_parameters") ? "rope_parameters" : nullptr;
}

void refuse_unknown_keys(const json& scaling, const std::string& where) {
  for (const auto& field : scaling.items()) {
    const bool known =
        std::any_of(std::begin(kKnownKeys), std::end(kKnownKeys), [&](const char* key) { return field.key() == key; });
    if (known || field.value().is_null() || field.value() == json(false)) continue;
    fail("{}: the RoPE field {} is {}, which is not supported.", where, field.key(), show(field.value()));
  }
}

RopeKind read_kind(const JsonFields& scaling) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::optional<std::string> text = scaling.text(key);
  if (!text) {
    if (scaling.has("factor")) scaling.refuse("rope_type", "a RoPE factor needs a kind");
    return RopeKind::kDefault;
  }
  for (const KindName& known : kKinds)
    if (*text == known.name) return known.kind;
  scaling.refuse(key, "the known RoPE kinds are default, linear, dynamic, yarn, llama3 and longrope");
}

// The factor, which yarn and longrope may leave to be derived from the two context lengths.
double read_factor(const JsonFields& scaling, const RopeConfig& rope, int64_t max_context) {
  if (const auto factor = scaling.number("factor", 1e-3, kLargestFactor)) return *factor;
  const bool derived = rope.kind == RopeKind::kYarn || rope.kind == RopeKind::kLongrope;
  if (!derived) scaling.refuse("factor", "this RoPE kind needs a number");
  return double(max_context) / double(rope.original_context == 0 ? max_context : rope.original_context);
}

void read_llama3(const JsonFields& scaling, RopeConfig& rope) {
  const auto low = scaling.number("low_freq_factor", 1e-3, kLargestFactor);
  const auto high = scaling.number("high_freq_factor", 1e-3, kLargestFactor);
  if (!low) scaling.refuse("low_freq_factor", "the RoPE kind llama3 needs a number");
  if (!high || *high <= *low)
    scaling.refuse("high_freq_factor", "the RoPE kind llama3 needs a number above low_freq_factor");
  rope.low_frequency_factor = *low;
  rope.high_frequency_factor = *high;
}

void read_yarn(const JsonFields& scaling, RopeConfig& rope) {
  // transformers takes 0 for "not given"
  if (const auto fast = scaling.number("beta_fast", 0, kLargestFactor); fast && *fast > 0) rope.beta_fast = *fast;
  if (const auto slow = scaling.number("beta_slow", 0, kLargestFactor); slow && *slow > 0) rope.beta_slow = *slow;
  rope.mscale = scaling.number("mscale", 0, kLargestFactor);
  rope.mscale_all_dim = scaling.number("mscale_all_dim", 0, kLargestFactor);
  rope.truncate = scaling.boolean("truncate").value_or(true);
}

void read_longrope(const JsonFields& scaling, RopeConfig& rope, int head_dim) {
  rope.short_factor = scaling.numbers("short_factor", 1e-6, kLargestFactor);
  rope.long_factor = scaling.numbers("long_factor", 1e-6, kLargestFactor);
  const std::string needed =
      fmt::format("the RoPE kind longrope needs {} numbers, one to a pair of a head", head_dim / 2);
  if (int(rope.short_factor.size()) != head_dim / 2) scaling.refuse("short_factor", needed);
  if (int(rope.long_factor.size()) != head_dim / 2) scaling.refuse("long_factor", needed);
}

void read_scaling(const JsonFields& config, const JsonFields& scaling, RopeConfig& rope, int head_dim,
                  int64_t max_context, const std::string& where) {
  rope.kind = read_kind(scaling);
  if (rope.kind == RopeKind::kDefault) return;
  if (rope.kind == RopeKind::kDynamic && head_dim < 4)
    fail("{}: head_dim is {}, but the RoPE kind dynamic needs at least 4.", where, head_dim);
  if (rope.kind != RopeKind::kLinear && rope.kind != RopeKind::kDynamic) {
    // Some families write it beside the scaling; transformers lets that one win.
    const JsonFields& holder = config.has("original_max_position_embeddings") ? config : scaling;
    rope.original_context = holder.integer("original_max_position_embeddings", 2, kLargestContext).value_or(0);
    if (rope.original_context == 0 && max_context < 2)
      config.refuse("max_position_embeddings", "this RoPE kind needs 2");
  }
  rope.factor = read_factor(scaling, rope, max_context);
  rope.attention_factor = scaling.number("attention_factor", 0, kLargestFactor);
  if (rope.kind == RopeKind::kLlama3) read_llama3(scaling, rope);
  if (rope.kind == RopeKind::kYarn) read_yarn(scaling, rope);
  if (rope.kind == RopeKind::kLongrope) read_longrope(scaling, rope, head_dim);
}

}  // namespace

RopeConfig parse_rope(const JsonFields& config, int head_dim, int64_t max_context, const std::string& where) {
  RopeConfig rope;
  constexpr double kSmallestTheta = 1.0001, kLargestTheta = 1e15;  // yarn divides by its logarithm
  const char* key = scaling_key(config);
  std::optional<double> theta;
  if (key != nullptr) {
    const json& object = *config.find(key);
    const std::string inside = fmt::format("{}: {}", where, key);
    const JsonFields scaling(object, inside);
    refuse_unknown_keys(object, inside);
    if (scaling.has("partial_rotary_factor") && scaling.number("partial_rotary_factor", 0, 1) != 1.0)
      scaling.refuse("partial_rotary_factor", "only heads that are rotated as a whole are supported");
    read_scaling(config, scaling, rope, head_dim, max_context, inside);
    theta = scaling.number("rope_theta", kSmallestTheta, kLargestTheta);
  }
  if (!theta) theta = config.number("rope_theta", kSmallestTheta, kLargestTheta);
  if (!theta && config.has("rope_parameters")) {
    const std::string inside = where + ": rope_parameters";
    theta = JsonFields(*config.find("rope_parameters"), inside).number("rope_theta", kSmallestTheta, kLargestTheta);
  }
  rope.theta = theta.value_or(10000);
  return rope;
}

json rope_to_json(const RopeConfig& rope) {
  if (rope.kind == RopeKind::kDefault) return nullptr;
  json scaling = {{"factor", rope.factor}};
  for (const KindName& known : kKinds)
    if (rope.kind == known.kind) scaling["rope_type"] = known.name;
  if (rope.original_context != 0) scaling["original_max_position_embeddings"] = rope.original_context;
  if (rope.attention_factor) scaling["attention_factor"] = *rope.attention_factor;
  if (rope.kind == RopeKind::kLlama3) {
    scaling["low_freq_factor"] = rope.low_frequency_factor;
    scaling["high_freq_factor"] = rope.high_frequency_factor;
  }
  if (rope.kind == RopeKind::kYarn) {
    scaling["beta_fast"] = rope.beta_fast;
    scaling["beta_slow"] = rope.beta_slow;
    scaling["truncate"] = rope.truncate;
    if (rope.mscale) scaling["mscale"] = *rope.mscale;
    if (rope.mscale_all_dim) scaling["mscale_all_dim"] = *rope.mscale_all_dim;
  }
  if (rope.kind == RopeKind::kLongrope) {
    scaling["short_factor"] = rope.short_factor;
    scaling["long_factor"] = rope.long_factor;
  }
  return scaling;
}

}  // namespace updraft::checkpoint
