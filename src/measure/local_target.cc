#include "measure/local_target.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/caches.h"
#include "base/error.h"
#include "base/hash.h"
#include "measure/tasks.h"

namespace updraft::measure {

using nlohmann::ordered_json;

std::vector<int32_t> task_prompt_ids(const session::Session& loaded, const std::string& user_message) {
  session::TextRequest request;
  if (loaded.has_chat_template())
    request.messages = ordered_json::array({{{"role", "user"}, {"content", user_message}}});
  else
    request.prompt = user_message;
  return loaded.prompt_ids(request);
}

TaskRun LocalTarget::run(const std::string& user_message, const Protocol& protocol) {
  session::TextRequest request;  // greedy, whatever generation_config says: the protocol's
  request.ids = task_prompt_ids(session_, user_message);
  request.max_new_tokens = protocol.max_new_tokens;
  request.ignore_eos = !protocol.stop_at_eos;
  request.speculate = protocol.speculate;
  const session::TextAnswer result = session_.generate(std::move(request), &cancelled_);
  if (result.answer.finish_reason == engine::FinishReason::kError) fail("{}", result.answer.error);
  TaskRun run;
  run.prompt_tokens = result.answer.prompt_tokens;
  run.new_tokens = int64_t(result.answer.ids.size());
  run.text = result.text;
  run.finish_reason = engine::name(result.answer.finish_reason);
  run.ids = result.answer.ids;
  run.steps = result.answer.steps, run.proposed = result.answer.proposed, run.accepted = result.answer.accepted;
  run.token_times_s = result.answer.timings.token_times_s;
  run.latency_s = run.token_times_s.empty() ? 0 : run.token_times_s.back();
  return run;
}

std::string logits_hash(session::Session& loaded, const std::vector<int32_t>& ids) {
  Hash64 hash;
  loaded.engine().logits(ids, 0, [&](int64_t position, std::span<const float> row) {
    if (position + 1 == int64_t(ids.size())) hash.add(row.data(), row.size_bytes());
  });
  return fmt::format("{:016x}", hash.value());
}

double bytes_per_step(session::Session& loaded, double context_tokens, int64_t sequences) {
  const compute::KvGeometry kv = loaded.engine().decoder().kv_geometry(loaded.engine().options().kv_dtype);
  const std::vector<int>& windows = loaded.checkpoint().config().windows;
  double visible = 0;  // tokens, summed over layers
  for (int layer = 0; layer < kv.layers; ++layer) {
    const int window = size_t(layer) < windows.size() ? windows[size_t(layer)] : 0;
    visible += window > 0 ? std::min(context_tokens, double(window)) : context_tokens;
  }
  const double kv_bytes = visible * double(kv.bytes_per_token()) / kv.layers;
  return double(loaded.engine().decoder().weights().bytes_streamed_per_step()) + kv_bytes * double(sequences);
}

bool cache_resident(int64_t streamed_bytes) { return streamed_bytes < 2 * last_level_cache_bytes(); }

bool cache_resident(session::Session& loaded) {
  return cache_resident(loaded.engine().decoder().weights().bytes_streamed_per_step());
}

void add_bandwidth(session::Session& loaded, double read_bandwidth, ordered_json& tasks) {
  for (ordered_json& task : tasks) {
    const double prompt = task["prompt_tokens"].get<double>(), made = task["new_tokens"].get<double>();
    const double bytes = bytes_per_step(loaded, prompt + made / 2, 1);
    task["bytes_per_token"] = bytes;
    task["cache_resident"] = cache_resident(loaded);
    task["bandwidth_fraction"] = nullptr;
    // Where a step brings several tokens, tokens per second are no measure of bytes.
    if (read_bandwidth > 0 && !cache_resident(loaded) && !task.contains("speculation") &&
        task["decode_tokens_per_second"].is_number()) {
      task["bandwidth_fraction"] = bytes * task["decode_tokens_per_second"].get<double>() / read_bandwidth;
    }
    for (const Task& known : all_tasks())
      if (task["id"] == known.id)
        task["logits_hash"] = logits_hash(loaded, task_prompt_ids(loaded, std::string(known.prompt)));
  }
}

}  // namespace updraft::measure
