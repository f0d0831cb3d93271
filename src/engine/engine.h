// Engine: continuous batching over one decoder on one machine. One thread calls step(); any thread may submit or
// cancel. step() = plan (a pure function of sequences and free pages), run (the decoder's verbs), commit (append,
// finish, give pages back). Memory is taken in the constructor; a step neither allocates device memory nor throws.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compute/machine.h"
#include "engine/request.h"
#include "engine/speculation.h"
#include "model/decoder.h"

namespace updraft::engine {

struct EngineOptions {
  compute::KvType kv_dtype = compute::KvType::kF16;
  int64_t kv_tokens = 0;       // capacity of the KV cache over all sequences; rounded up to pages
  int64_t max_context = 0;     // longest prompt + answer; 0: min(the model's, kv_tokens)
  int64_t max_rows = 512;      // rows of a step: prefill chunk plus decoding sequences
  int64_t max_sequences = 64;  // decoding together
  bool prefix_reuse = true;
  int64_t unbounded_tokens = 256;  // reserved at a time for a request without max_new_tokens
  SpeculationOptions speculation;  // needs a machine that is batch_invariant; off elsewhere whatever is asked
};

struct EngineStatistics {
  int64_t steps = 0, rows = 0, running = 0, waiting = 0, preemptions = 0;
  int64_t pages_total = 0, pages_free = 0, pages_cached = 0;
  int64_t prefix_hit_tokens = 0, prompt_tokens = 0, generated_tokens = 0;
  int64_t proposed_tokens = 0, accepted_tokens = 0;  // by speculation
};

class Engine {
 public:
  Engine(std::unique_ptr<compute::Machine>, model::Decoder, EngineOptions);
  ~Engine();

  // Every call but submit, cancel, idle, finished, take and statistics belongs to the one thread that steps.
  // Queues a request; its answers are ready when finished(id). A request that can never run (empty, an id outside the
  // vocabulary, longer than max_context) gets FinishReason::kError with a sentence. Thread-safe.
  RequestId submit(Request);
  void cancel(RequestId);  // thread-safe; takes effect at the next step
  bool idle() const;       // nothing queued or running
  // False when there was nothing to do. A step that `watch` ends is as if it had not been: every sequence stays where
  // it was, and later steps compute the same bits. So a long prompt need not be waited for before cancel() takes
  // effect.
  bool step(const model::StepWatch& watch = {});
  bool finished(RequestId) const;
  std::vector<Answer> take(RequestId);  // n answers; forgets the request. CHECKs finished(id)

  std::vector<Answer> run(Request);  // submit, step until finished, take: for a single caller

  // Logits of every position of `ids` [ids.size(), vocabulary], computed with the sequence's context = ids.size().
  // `chunk`: rows a step, at most (0: as many as a step may have whose logits are all wanted); by the law it changes no
  // bit. Any length that fits the free KV pages. Called on the stepping thread; throws Error for ids that cannot be
  // scored, or a machine that fails. `watch` hears of rows of `ids`; false: it ended a step, the rows told are right.
  bool logits(std::span<const int32_t> ids, int64_t chunk,
              const std::function<void(int64_t position, std::span<const float>)>& row,
              const model::StepWatch& watch = {});

  EngineStatistics statistics() const;
  const compute::Machine& machine() const;
  compute::Machine& machine();
  const model::Decoder& decoder() const;
  const EngineOptions& options() const;
  model::Workspace& workspace();  // for measuring at a synthetic depth
  // Everything that a logit may depend on besides the token ids, as one line: machine, path, devices, packing,
  // activations, KV dtype, RoPE kind. Printed in run records; hashed by the prefix index.
  std::string numerics_key() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace updraft::engine
