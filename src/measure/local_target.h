// LocalTarget: the benchmark's target in this process, and what only a session can tell: bytes moved per token, the
// fraction of the read bandwidth, a hash of the logits.
#pragma once

#include <atomic>

#include "compute/probe.h"
#include "measure/bench_protocol.h"
#include "session/session.h"

namespace updraft::measure {

class LocalTarget : public Target {
 public:
  // `cancelled` ends a run between layers; its result is then incomplete and must not be used.
  LocalTarget(session::Session& loaded, const std::atomic<bool>& cancelled) : session_(loaded), cancelled_(cancelled) {}
  TaskRun run(const std::string& user_message, const Protocol&) override;

 private:
  session::Session& session_;
  const std::atomic<bool>& cancelled_;
};

// Through the chat template where the model has one, else raw text (a synthetic model, a base model).
std::vector<int32_t> task_prompt_ids(const session::Session&, const std::string& user_message);

// FNV-1a over the bits of the logits after the prompt's last token, 16 hex digits: equal numerics keys give equal
// hashes.
std::string logits_hash(session::Session&, const std::vector<int32_t>& ids);

// Bytes that one decode step must read at a context: every streamed weight once, and the visible K and V of each
// sequence.
double bytes_per_step(session::Session&, double context_tokens, int64_t sequences);

// Adds to each task "bytes_per_token", "bandwidth_fraction" (or null and "cache_resident": true when the weights are
// under twice the last-level cache) and "logits_hash".
void add_bandwidth(session::Session&, double read_bandwidth, nlohmann::ordered_json& tasks);

// True when weights of so many bytes mostly stay in the last-level cache, so that memory bandwidth is no limit.
bool cache_resident(int64_t streamed_bytes);
bool cache_resident(session::Session&);

}  // namespace updraft::measure
