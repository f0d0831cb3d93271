#include "cli/streamed_answer.h"

#include <fmt/format.h>

#include "checkpoint/strict_json.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

std::string reason_in(const ordered_json& answer, std::string_view text) {
  if (answer.is_object()) {
    const ordered_json& error = answer.contains("error") ? answer["error"] : answer;
    if (error.is_string()) return error.get<std::string>();
    for (const char* key : {"message", "detail"})
      if (error.is_object() && error.contains(key))
        return error[key].is_string() ? error[key].get<std::string>() : error[key].dump();
  }
  return std::string(text.substr(0, 300));
}

}  // namespace

std::string refusal_message(const std::string& body) { return reason_in(checkpoint::parse_or_discard(body), body); }

void StreamedAnswer::event(std::string_view data, double seconds) {
  if (data == "[DONE]") {
    ended = true;
    return;
  }
  const ordered_json json = checkpoint::parse_or_discard(data);
  if (!json.is_object()) {
    if (error.empty()) error = fmt::format("an event is no JSON object: {}", data.substr(0, 200));
    return;
  }
  if (json.contains("error") && !json["error"].is_null()) error = reason_in(json, data);
  if (json.contains("usage") && json["usage"].is_object()) usage(json["usage"]);
  if (!json.contains("choices")) return;
  const ordered_json& choices = json["choices"];
  if (choices.is_array() && !choices.empty() && choices[0].is_object()) choice(choices[0], seconds);
}

void StreamedAnswer::usage(const ordered_json& usage) {
  const auto count = [&](const char* key) {
    return usage.contains(key) && usage[key].is_number_integer() ? usage[key].get<int64_t>() : 0;
  };
  run.prompt_tokens = count("prompt_tokens");
  run.new_tokens = count("completion_tokens");
  has_usage = run.new_tokens > 0;
}

void StreamedAnswer::choice(const ordered_json& choice, double seconds) {
  if (choice.contains("finish_reason") && choice["finish_reason"].is_string()) {
    run.finish_reason = choice["finish_reason"].get<std::string>();
    ended = true;
  }
  if (!choice.contains("delta") || !choice["delta"].is_object()) return;
  // Reasoning models stream their thoughts under a name of their own; they are tokens too.
  for (const char* key : {"reasoning_content", "content"}) {
    const ordered_json& delta = choice["delta"];
    if (!delta.contains(key) || !delta[key].is_string()) continue;
    const std::string piece = delta[key].get<std::string>();
    if (piece.empty()) continue;
    run.text += piece;
    run.token_times_s.push_back(seconds);
    ++pieces;
  }
}

}  // namespace updraft::cli
