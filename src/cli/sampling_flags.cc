#include "cli/sampling_flags.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "session/request_settings.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

// CLI11 takes an empty text for a flag that was not given.
std::string refuse_empty(const std::string& text) { return text.empty() ? "a number is expected" : ""; }

// CLI11 would take -1, and 2^64, for another seed.
std::optional<uint64_t> parse_seed(const std::string& text) {
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(seed) : std::nullopt;
}

double parse_bias(const std::string& pair, const std::string& text) {
  char* end = nullptr;
  const double bias = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(bias))
    fail("--logit-bias {}: \"{}\" after the colon is not a number", pair, text);
  return bias;
}

// --logit-bias adds to what --settings has.
void add_biases(const std::vector<std::string>& pairs, ordered_json& settings) {
  if (pairs.empty()) return;
  if (settings.contains("logit_bias") && !settings["logit_bias"].is_object())
    fail("--settings: logit_bias: an object of \"id\": bias is expected, not {}", settings["logit_bias"].dump());
  for (const std::string& pair : pairs) {
    const size_t colon = pair.find(':');
    if (colon == std::string::npos) fail("--logit-bias {}: ID:BIAS is expected, like 42:-5", pair);
    settings["logit_bias"][pair.substr(0, colon)] = parse_bias(pair, pair.substr(colon + 1));
  }
}

ordered_json without_nulls(const ordered_json& settings) {
  ordered_json given = ordered_json::object();
  for (const auto& [name, value] : settings.items())
    if (!value.is_null()) given[name] = value;
  return given;
}

ordered_json parse_settings(const std::string& text) {
  if (text.empty()) return ordered_json::object();
  const ordered_json written = naming("--settings", [&] { return parse_line(text); });
  if (!written.is_object()) fail("--settings: a JSON object is expected, not {}", text);
  return without_nulls(written);
}

ordered_json given_settings(const SamplingFlags& flags) {
  ordered_json json = parse_settings(flags.settings);
  const auto put = [&](const char* name, const auto& value) {
    if (value) json[name] = *value;
  };
  put("max_new_tokens", flags.max_new_tokens);
  put("min_new_tokens", flags.min_new_tokens);
  put("temperature", flags.temperature);
  put("top_k", flags.top_k);
  put("top_p", flags.top_p);
  put("min_p", flags.min_p);
  put("typical_p", flags.typical_p);
  put("epsilon_cutoff", flags.epsilon_cutoff);
  put("eta_cutoff", flags.eta_cutoff);
  put("repetition_penalty", flags.repetition_penalty);
  put("presence_penalty", flags.presence_penalty);
  put("frequency_penalty", flags.frequency_penalty);
  put("no_repeat_ngram_size", flags.no_repeat_ngram_size);
  put("seed", parse_seed(flags.seed));
  put("logprobs", flags.logprobs);
  if (!flags.stop.empty()) json["stop"] = flags.stop;
  if (!flags.suppress_tokens.empty()) json["suppress_tokens"] = parse_ids(flags.suppress_tokens);
  add_biases(flags.logit_bias, json);
  if (flags.ignore_eos) json["ignore_eos"] = true;
  if (flags.include_stop) json["include_stop"] = true;
  if (flags.greedy) json["do_sample"] = false;
  session::TextRequest trial;
  session::apply_settings(json, trial);
  return json;
}

}  // namespace

void SamplingFlags::add_to(CLI::App& command) {
  const std::string group = "Sampling (over generation_config.json, over greedy; order and semantics of transformers)";
  const auto option = [&](const char* flag, auto& value, const char* help) {
    return command.add_option(flag, value, help)->group(group);
  };
  const auto number = [&](const char* flag, auto& value, const char* help) {
    option(flag, value, help)->check(refuse_empty);
  };
  // One value after each of these: the next word is the MODEL or the PROMPT.
  const auto list = [&](const char* flag, std::vector<std::string>& values, const char* help) {
    option(flag, values, help)->allow_extra_args(false);
  };
  number("--max-new-tokens", max_new_tokens,
         "At most this many new tokens (default: generation_config.json; else 256, in chat as the context allows)");
  number("--min-new-tokens", min_new_tokens, "End-of-sequence is not chosen before");
  number("--temperature", temperature, "Divides the logits; turns sampling on; 0: greedy");
  number("--top-k", top_k, "Keep the k best (0: off; 50 once sampling is on, as in transformers)");
  number("--top-p", top_p, "Keep the smallest set of this probability (1: off)");
  number("--min-p", min_p, "Keep what has this share of the best one's probability (0: off)");
  number("--typical-p", typical_p, "Locally typical sampling (1: off)");
  number("--epsilon-cutoff", epsilon_cutoff, "Drop what is less probable (0: off)");
  number("--eta-cutoff", eta_cutoff, "Drop by an entropy-dependent threshold (0: off)");
  number("--repetition-penalty", repetition_penalty, "Over prompt and answer; 1: off");
  number("--presence-penalty", presence_penalty, "Subtracted once from tokens already generated");
  number("--frequency-penalty", frequency_penalty, "Subtracted for each time a token was generated");
  number("--no-repeat-ngram-size", no_repeat_ngram_size, "No n-gram twice");
  option("--seed", seed, "Same seed, same text, under any batch (sampling without one: a fresh seed a request)")
      ->type_name("UINT")
      ->check([](const std::string& text) {
        return parse_seed(text) ? "" : "a seed is a whole number from 0 to 18446744073709551615";
      });
  list("--stop", stop, "End before this string (repeatable)");
  list("--logit-bias", logit_bias, "ID:BIAS added to a token's logit (repeatable)");
  option("--suppress-tokens", suppress_tokens, "Token ids never chosen: 1,2,3");
  number("--logprobs", logprobs, "Log-probabilities of the chosen token and of the N best (with --json)");
  option("--settings", settings, "Any of these as JSON, in transformers' names: '{\"bad_words_ids\": [[5]]}'");
  command.add_flag("--greedy", greedy, "No sampling, whatever generation_config.json says")->group(group);
  command.add_flag("--ignore-eos", ignore_eos, "End-of-sequence is never chosen")->group(group);
  command.add_flag("--include-stop", include_stop, "Keep the stop string in the text, as transformers does")
      ->group(group);
}

ordered_json SamplingFlags::settings_json() const {
  try {
    return given_settings(*this);
  } catch (const Error& e) {
    throw CLI::ValidationError(e.what());
  }
}

session::TextRequest make_request(const session::Session& loaded, const ordered_json& settings) {
  session::TextRequest request = loaded.default_request();
  session::apply_settings(settings, request);
  session::draw_seed(settings, request);
  return request;
}

}  // namespace updraft::cli
