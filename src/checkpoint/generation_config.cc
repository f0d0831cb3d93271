#include "checkpoint/generation_config.h"

#include "checkpoint/strict_json.h"

namespace updraft::checkpoint {

using nlohmann::json;

namespace {

// Settings of transformers' generate that would change the tokens and that this engine does not have; the number is the
// value that changes nothing, besides null, false, 0 and empty.
struct Foreign {
  const char* key;
  std::optional<double> neutral = std::nullopt;
};

const Foreign kForeign[] = {{"num_beams", 1},
                            {"num_beam_groups", 1},
                            {"num_return_sequences", 1},
                            {"diversity_penalty"},
                            {"penalty_alpha"},
                            {"encoder_repetition_penalty", 1},
                            {"encoder_no_repeat_ngram_size"},
                            {"forced_bos_token_id"},
                            {"forced_eos_token_id"},
                            {"forced_decoder_ids"},
                            {"force_words_ids"},
                            {"constraints"},
                            {"exponential_decay_length_penalty"},
                            {"guidance_scale", 1},
                            {"watermarking_config"},
                            {"top_h"},
                            {"dola_layers"},
                            {"min_length"},
                            {"max_time"}};

constexpr int64_t kLargestCount = int64_t(1) << 40;
constexpr int64_t kOldDefaultLength = 20;  // transformers wrote all its defaults into config.json once

void read_sampling(const JsonFields& file, GenerationConfig& config) {
  config.do_sample = file.boolean("do_sample");
  config.temperature = file.number("temperature", 0, 1e6);
  config.top_k = file.integer("top_k", 0, kLargestCount);
  config.top_p = file.number("top_p", 0, 1);
  config.min_p = file.number("min_p", 0, 1);
  config.typical_p = file.number("typical_p", 0, 1);
  config.epsilon_cutoff = file.number("epsilon_cutoff", 0, 1);
  config.eta_cutoff = file.number("eta_cutoff", 0, 1);
  config.repetition_penalty = file.number("repetition_penalty", 1e-6, 1e6);
  config.no_repeat_ngram_size = file.integer("no_repeat_ngram_size", 0, kLargestCount);
}

void read_bad_words(const JsonFields& file, GenerationConfig& config) {
  const json* words = file.find("bad_words_ids");
  if (words == nullptr) return;
  constexpr const char* kNeeded = "a list of lists of ids is needed";
  if (!words->is_array()) file.refuse("bad_words_ids", kNeeded);
  for (const json& word : *words) {
    if (!word.is_array() || word.empty()) file.refuse("bad_words_ids", kNeeded);
    config.bad_words.push_back(file.ids(word, "bad_words_ids"));
    if (config.bad_words.back().size() != word.size()) file.refuse("bad_words_ids", kNeeded);
  }
}

// [[[ids...], bias], ...], as transformers writes it.
void read_sequence_bias(const JsonFields& file, GenerationConfig& config) {
  const json* biases = file.find("sequence_bias");
  if (biases == nullptr) return;
  constexpr const char* kNeeded = "a list of pairs of a list of ids and a finite number is needed";
  if (!biases->is_array()) file.refuse("sequence_bias", kNeeded);
  for (const json& pair : *biases) {
    const bool good =
        pair.is_array() && pair.size() == 2 && pair[0].is_array() && !pair[0].empty() && pair[1].is_number();
    if (!good) file.refuse("sequence_bias", kNeeded);
    std::vector<int32_t> sequence = file.ids(pair[0], "sequence_bias");
    if (sequence.size() != pair[0].size()) file.refuse("sequence_bias", kNeeded);
    config.sequence_bias.emplace_back(std::move(sequence), pair[1].get<double>());
  }
}

void read_stop_strings(const JsonFields& file, GenerationConfig& config) {
  const json* strings = file.find("stop_strings");
  if (strings == nullptr) return;
  const json list = strings->is_array() ? *strings : json::array({*strings});
  for (const json& item : list) {
    if (!item.is_string() || item.get_ref<const std::string&>().empty())
      file.refuse("stop_strings", "a text or a list of texts, none of them empty, is needed");
    config.stop_strings.push_back(item.get<std::string>());
  }
}

}  // namespace

GenerationConfig parse_generation_config(const json& object, const std::string& where) {
  const JsonFields file(object, where);
  for (const Foreign& field : kForeign) {
    const json* value = file.find(field.key);
    if (value != nullptr && !is_neutral(*value, field.neutral))
      file.refuse(field.key, "this setting is not supported: take it out of the file");
  }
  GenerationConfig config;
  read_sampling(file, config);
  read_bad_words(file, config);
  read_sequence_bias(file, config);
  read_stop_strings(file, config);
  config.max_new_tokens = file.integer("max_new_tokens", 0, kLargestCount);
  config.max_length = file.integer("max_length", 0, kLargestCount);
  config.min_new_tokens = file.integer("min_new_tokens", 0, kLargestCount);
  config.suppressed_ids = file.ids("suppress_tokens");
  config.begin_suppressed_ids = file.ids("begin_suppress_tokens");
  config.bos_ids = file.ids("bos_token_id");
  config.eos_ids = file.ids("eos_token_id");
  config.pad_ids = file.ids("pad_token_id");
  return config;
}

GenerationConfig generation_config_of_model(const json& object, const std::string& where) {
  GenerationConfig config = parse_generation_config(object, where);
  if (config.max_length == kOldDefaultLength) config.max_length.reset();
  return config;
}

GenerationConfig default_generation_config(const ModelConfig& model) {
  GenerationConfig config;
  config.bos_ids = model.bos_ids;
  config.eos_ids = model.eos_ids;
  config.pad_ids = model.pad_ids;
  return config;
}

}  // namespace updraft::checkpoint
