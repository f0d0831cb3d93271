// StreamedAnswer: the events of a streamed chat completion (OpenAI's API) put together. A server may send anything:
// what is no answer ends in `error`, and nothing throws, for libcurl is on the stack.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "measure/bench_protocol.h"

namespace updraft::cli {

struct StreamedAnswer {
  measure::TaskRun run;
  int64_t pieces = 0;
  bool has_usage = false, ended = false;
  std::string error;

  void event(std::string_view data, double seconds);

 private:
  void usage(const nlohmann::ordered_json& usage);
  void choice(const nlohmann::ordered_json& choice, double seconds);
};

// What a server says of a refusal: {"error": {"message"}}, {"message"}, {"detail"}, or its text.
std::string refusal_message(const std::string& body);

}  // namespace updraft::cli
