// OpenAiTarget: the benchmark's target behind a URL: any server that speaks the OpenAI API's streamed chat completions
// (POST .../v1/chat/completions). Times are taken as pieces of the stream arrive; token counts are the server's own
// (`usage`), and where it gives none, each piece of text counts as one.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "measure/bench_protocol.h"

namespace updraft::cli {

struct Endpoint {
  std::string url;      // http://host:8000, .../v1 or .../v1/chat/completions
  std::string model;    // empty: the only one that the server lists
  std::string api_key;  // empty: none is sent
};

class OpenAiTarget : public measure::Target {
 public:
  // Asks the server for its models when `endpoint.model` is empty; throws Error. `cancelled` ends a run early; its
  // result is then incomplete and must not be used.
  OpenAiTarget(Endpoint endpoint, const std::atomic<bool>& cancelled);
  ~OpenAiTarget() override;

  measure::TaskRun run(const std::string& user_message, const measure::Protocol&) override;

  const Endpoint& endpoint() const { return endpoint_; }
  // Fields of the request that the server refused and that were left out since: "ignore_eos", "stream_options".
  const std::vector<std::string>& refused() const { return refused_; }
  bool counted_pieces() const { return counted_pieces_; }  // the server gave no usage in at least one run

 private:
  struct Reply;
  Reply post(const std::string& body);
  std::string only_model();
  bool refuses(const Reply&, const char* field);

  struct Connection;
  Endpoint endpoint_;
  std::string base_;  // .../v1
  std::unique_ptr<Connection> connection_;
  std::vector<std::string> refused_;
  bool counted_pieces_ = false;
};

}  // namespace updraft::cli
