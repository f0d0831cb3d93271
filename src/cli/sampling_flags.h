// The sampling flags of generate and chat. They become the same JSON settings that a line of `--jsonl` carries.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "session/session.h"

namespace updraft::cli {

struct SamplingFlags {
  std::optional<double> temperature, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, max_new_tokens, min_new_tokens, no_repeat_ngram_size, logprobs;
  std::vector<std::string> stop, logit_bias;
  std::string seed, suppress_tokens, settings;
  bool ignore_eos = false, include_stop = false, greedy = false;

  void add_to(CLI::App& command);
  // Only what was given, and no null. Throws CLI::ValidationError for what no request could take: a command says so
  // before it loads a model.
  nlohmann::ordered_json settings_json() const;
};

// What the user asks for over the model's own settings: flags or --settings, and the fields of a line. Where it samples
// and names no seed it gets a fresh one. Throws Error.
session::TextRequest make_request(const session::Session& loaded, const nlohmann::ordered_json& settings);

}  // namespace updraft::cli
