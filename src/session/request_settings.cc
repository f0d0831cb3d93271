#include "session/request_settings.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "base/error.h"
#include "session/json_values.h"

namespace updraft::session {
namespace {

using nlohmann::ordered_json;

std::vector<std::string> string_list(const std::string& name, const ordered_json& value) {
  if (!value.is_string() && !value.is_array())
    fail("{}: a string or a list of strings is expected, not {}", name, value.dump());
  std::vector<std::string> list;
  for (const ordered_json& item : value.is_string() ? ordered_json::array({value}) : value)
    list.push_back(text_value(name, item));
  for (const std::string& item : list)
    if (item.empty()) fail("{}: an empty stop string would end every answer at once", name);
  return list;
}

// transformers: [[[ids], bias], ...]
std::vector<std::pair<std::vector<int32_t>, float>> sequence_bias(const std::string& name, const ordered_json& value) {
  std::vector<std::pair<std::vector<int32_t>, float>> biases;
  if (!value.is_array()) fail("{}: a list of [[ids], bias] is expected, not {}", name, value.dump());
  for (const ordered_json& item : value) {
    if (!item.is_array() || item.size() != 2) fail("{}: [[ids], bias] is expected, not {}", name, item.dump());
    biases.emplace_back(id_list_value(name, item[0]), float(number_value(name, item[1], -1e30, 1e30)));
  }
  return biases;
}

// OpenAI: {"id": bias, ...}
std::vector<std::pair<int32_t, float>> logit_bias(const std::string& name, const ordered_json& value) {
  std::vector<std::pair<int32_t, float>> biases;
  if (!value.is_object()) fail("{}: an object of \"id\": bias is expected, not {}", name, value.dump());
  for (const auto& [key, bias] : value.items()) {
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
      fail("{}: \"{}\" is not a token id", name, key);
    biases.emplace_back(int32_t(std::stol(key)), float(number_value(name, bias, -1e30, 1e30)));
  }
  return biases;
}

uint64_t seed_value(const std::string& name, const ordered_json& value) {
  constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();
  if (value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0))
    return value.get<uint64_t>();
  fail("{}: a whole number from 0 to {} is expected, not {}", name, kLargest, value.dump());
}

// True when the field belongs to sampling and was applied; `samples` tells that the field only makes sense when
// sampling, with a value that is not "off".
bool apply_sampling(const std::string& name, const ordered_json& v, engine::SamplingParameters& s, bool& samples) {
  const auto sampling = [&](float& field, double high, std::optional<double> off) {
    const double value = number_value(name, v, 0, high);
    field = float(value);
    if (value != off) samples = true;
    return true;
  };
  if (name == "temperature") return sampling(s.temperature, 1000, std::nullopt);
  if (name == "top_p") return sampling(s.top_p, 1, 1);
  if (name == "min_p") return sampling(s.min_p, 1, 0);
  if (name == "typical_p") return sampling(s.typical_p, 1, 1);
  if (name == "epsilon_cutoff") return sampling(s.epsilon_cutoff, 1, 0);
  if (name == "eta_cutoff") return sampling(s.eta_cutoff, 1, 0);
  if (name == "top_k") {
    s.top_k = int32_t(integer_value(name, v, 0, kMaxId));
    if (s.top_k != 0) samples = true;
  } else if (name == "seed") {
    s.seed = seed_value(name, v);
  } else if (name == "repetition_penalty") {
    s.repetition_penalty = float(number_value(name, v, 1e-3, 1e3));
  } else if (name == "presence_penalty") {
    s.presence_penalty = float(number_value(name, v, -100, 100));
  } else if (name == "frequency_penalty") {
    s.frequency_penalty = float(number_value(name, v, -100, 100));
  } else if (name == "no_repeat_ngram_size") {
    s.no_repeat_ngram_size = int32_t(integer_value(name, v, 0, 1 << 20));
  } else if (name == "bad_words_ids") {
    if (!v.is_array()) fail("{}: a list of lists of token ids is expected", name);
    s.bad_words.clear();
    for (const ordered_json& word : v) s.bad_words.push_back(id_list_value(name, word));
  } else if (name == "sequence_bias") {
    s.sequence_bias = sequence_bias(name, v);
  } else if (name == "logit_bias") {
    s.logit_bias = logit_bias(name, v);
  } else if (name == "suppress_tokens") {
    s.suppressed_ids = id_list_value(name, v);
  } else if (name == "begin_suppress_tokens") {
    s.begin_suppressed_ids = id_list_value(name, v);
  } else if (name == "logprobs") {
    // true: the chosen token's; n: and the n best
    if (v.is_boolean())
      s.top_logprobs = v.get<bool>() ? 0 : -1;
    else
      s.top_logprobs = int32_t(integer_value(name, v, 0, 1000));
  } else {
    return false;
  }
  return true;
}

bool apply_request(const std::string& name, const ordered_json& v, TextRequest& r) {
  if (name == "prompt") {
    r.prompt = text_value(name, v);
  } else if (name == "messages") {
    if (!v.is_array()) fail("messages: a list of {{\"role\", \"content\"}} is expected, not {}", v.dump());
    r.messages = v;
  } else if (name == "ids") {
    r.ids = id_list_value(name, v);
  } else if (name == "max_new_tokens") {
    r.max_new_tokens = integer_value(name, v, 1, std::numeric_limits<int32_t>::max());
  } else if (name == "min_new_tokens") {
    r.min_new_tokens = integer_value(name, v, 0, std::numeric_limits<int32_t>::max());
  } else if (name == "ignore_eos") {
    r.ignore_eos = boolean_value(name, v);
  } else if (name == "stop" || name == "stop_strings") {
    r.stop = string_list(name, v);
  } else if (name == "include_stop") {
    r.include_stop = boolean_value(name, v);
  } else if (name == "context") {
    r.context = integer_value(name, v, 1, int64_t(1) << 40);
  } else if (name == "tools" || name == "documents" || name == "add_generation_prompt") {
    r.template_variables[name] = v;
  } else if (name == "template_variables") {
    if (!v.is_object()) fail("template_variables: an object is expected, not {}", v.dump());
    for (const auto& [key, value] : v.items()) r.template_variables[key] = value;
  } else {
    return false;
  }
  return true;
}

bool is_given(const ordered_json& settings, const char* name) {
  return settings.contains(name) && !settings[name].is_null();
}

}  // namespace

void apply_settings(const ordered_json& settings, TextRequest& request) {
  if (!settings.is_object()) fail("a request is a JSON object, not {}", settings.dump());
  bool samples = false;
  for (const auto& [name, value] : settings.items()) {
    if (name == "do_sample" || name == "system" || value.is_null()) continue;
    if (!apply_sampling(name, value, request.sampling, samples) && !apply_request(name, value, request))
      fail("\"{}\" is not a field of a request; docs/guide.md lists them under generate", name);
  }
  if (is_given(settings, "system")) {
    if (!request.messages) fail("system: needs messages (or --chat) to belong to");
    // A braced list would be taken for the elements to insert.
    const ordered_json message = {{"role", "system"}, {"content", text_value("system", settings["system"])}};
    request.messages->insert(request.messages->begin(), message);
  }
  // Asking for a temperature asks for sampling; temperature 0 and do_sample false ask for greedy.
  if (samples) request.sampling.do_sample = true;
  if (is_given(settings, "do_sample")) request.sampling.do_sample = boolean_value("do_sample", settings["do_sample"]);
  if (request.sampling.temperature == 0) {
    request.sampling.do_sample = false;
    request.sampling.temperature = 1;
  }
}

void draw_seed(const ordered_json& settings, TextRequest& request) {
  if (!request.sampling.do_sample || is_given(settings, "seed")) return;
  // Of 32 bits: short to type again, and the same number to every reader of JSON.
  request.sampling.seed = std::random_device()();
}

}  // namespace updraft::session
