#include "cli/sampling_flags.h"

#include "base/error.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "session/request_settings.h"

namespace updraft::cli {

void SamplingFlags::add_to(CLI::App& command) {
  const std::string group = "Sampling (over generation_config.json, over greedy; order and semantics of transformers)";
  const auto option = [&](const char* flag, auto& value, const char* help) {
    command.add_option(flag, value, help)->group(group);
  };
  option("--max-new-tokens", max_new_tokens, "At most this many new tokens");
  option("--min-new-tokens", min_new_tokens, "End-of-sequence is not chosen before");
  option("--temperature", temperature, "Divides the logits; turns sampling on; 0: greedy");
  option("--top-k", top_k, "Keep the k best (0: off; 50 once sampling is on, as in transformers)");
  option("--top-p", top_p, "Keep the smallest set of this probability");
  option("--min-p", min_p, "Keep what has this share of the best one's probability");
  option("--typical-p", typical_p, "Locally typical sampling");
  option("--epsilon-cutoff", epsilon_cutoff, "Drop what is less probable");
  option("--eta-cutoff", eta_cutoff, "Drop by an entropy-dependent threshold");
  option("--repetition-penalty", repetition_penalty, "Over prompt and answer; 1: off");
  option("--presence-penalty", presence_penalty, "Subtracted once from tokens already generated");
  option("--frequency-penalty", frequency_penalty, "Subtracted for each time a token was generated");
  option("--no-repeat-ngram-size", no_repeat_ngram_size, "No n-gram twice");
  option("--seed", seed, "Same seed, same text, under any batch");
  option("--stop", stop, "End before this string (repeatable)");
  option("--logit-bias", logit_bias, "ID:BIAS added to a token's logit (repeatable)");
  option("--suppress-tokens", suppress_tokens, "Token ids never chosen: 1,2,3");
  option("--logprobs", logprobs, "Log-probabilities of the chosen token and of the N best (with --json)");
  option("--settings", settings, "Any of these as JSON, in transformers' names: '{\"bad_words_ids\": [[5]]}'");
  command.add_flag("--greedy", greedy, "No sampling, whatever generation_config.json says")->group(group);
  command.add_flag("--ignore-eos", ignore_eos, "End-of-sequence is never chosen")->group(group);
  command.add_flag("--include-stop", include_stop, "Keep the stop string in the text, as transformers does")
      ->group(group);
}

nlohmann::ordered_json SamplingFlags::settings_json() const {
  nlohmann::ordered_json json = settings.empty() ? nlohmann::ordered_json::object() : parse_line(settings);
  if (!json.is_object()) fail("--settings: a JSON object is expected");
  const auto put = [&](const char* name, const auto& value) {
    if (value) json[name] = *value;
  };
  put("max_new_tokens", max_new_tokens);
  put("min_new_tokens", min_new_tokens);
  put("temperature", temperature);
  put("top_k", top_k);
  put("top_p", top_p);
  put("min_p", min_p);
  put("typical_p", typical_p);
  put("epsilon_cutoff", epsilon_cutoff);
  put("eta_cutoff", eta_cutoff);
  put("repetition_penalty", repetition_penalty);
  put("presence_penalty", presence_penalty);
  put("frequency_penalty", frequency_penalty);
  put("no_repeat_ngram_size", no_repeat_ngram_size);
  put("seed", seed);
  put("logprobs", logprobs);
  if (!stop.empty()) json["stop"] = stop;
  if (!suppress_tokens.empty()) json["suppress_tokens"] = parse_ids(suppress_tokens);
  for (const std::string& pair : logit_bias) {
    const size_t colon = pair.find(':');
    if (colon == std::string::npos) fail("--logit-bias {}: ID:BIAS is expected, like 42:-5", pair);
    try {
      json["logit_bias"][pair.substr(0, colon)] = std::stod(pair.substr(colon + 1));
    } catch (const std::logic_error&) {
      fail("--logit-bias {}: the bias after the colon is not a number", pair);
    }
  }
  if (ignore_eos) json["ignore_eos"] = true;
  if (include_stop) json["include_stop"] = true;
  if (greedy) json["do_sample"] = false;
  session::TextRequest trial;
  session::apply_settings(json, trial);
  return json;
}

}  // namespace updraft::cli
