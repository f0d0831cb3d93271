#include "measure/rig.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "compute/sampling.h"
#include "model/rope.h"

namespace updraft::measure {

Rig::Rig(session::Session& loaded, int64_t sequences, int64_t context, uint64_t seed,
         const std::atomic<bool>& cancelled)
    : engine_(loaded.engine()),
      decoder_(engine_.decoder()),
      workspace_(engine_.workspace()),
      page_tokens_(engine_.machine().info().page_tokens),
      pages_each_((context + page_tokens_ - 1) / page_tokens_),
      vocabulary_(loaded.checkpoint().config().vocabulary_size),
      seed_(seed),
      cancelled_(cancelled) {
  if (pages_each_ * sequences > workspace_.kv->pages)
    fail("this sweep needs {} KV tokens and the cache holds {}: lower --depth or --batch",
         pages_each_ * page_tokens_ * sequences, workspace_.kv->pages * page_tokens_);
  ropes_.tables = {model::make_rope_table(loaded.checkpoint().config(), context, context)};
}

void Rig::fill(int64_t sequences, int64_t depth) {
  std::vector<int32_t> pages(size_t((depth + page_tokens_ - 1) / page_tokens_ * sequences));
  const int64_t used = (depth + page_tokens_ - 1) / page_tokens_;
  for (int64_t s = 0; s < sequences; ++s)
    std::iota(pages.begin() + s * used, pages.begin() + (s + 1) * used, int32_t(s * pages_each_));
  workspace_.kv->fill_pages(pages, seed_);
}

void Rig::step(int64_t sequences, int64_t position, int64_t count, int64_t chosen) {
  in_.clear();
  for (int64_t s = 0; s < sequences; ++s) {
    in_.sequence.push_back({int32_t(s * count), int32_t(count), int32_t(in_.page_tables.size()), int32_t(pages_each_)});
    for (int64_t page = 0; page < pages_each_; ++page) in_.page_tables.push_back(int32_t(s * pages_each_ + page));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = position + i;
      in_.ids.push_back(int32_t(compute::uniform(seed_ + uint64_t(s), uint64_t(at)) * vocabulary_));
      in_.positions.push_back(int32_t(at));
      in_.sequences.push_back(int32_t(s));
      in_.rope_tables.push_back(0);
    }
    for (int64_t i = count - chosen; i < count; ++i) in_.output_rows.push_back(int32_t(s * count + i));
  }
  compute::SampleRules greedy;
  greedy.top_logprobs = -1;
  in_.rules.assign(in_.output_rows.size(), greedy);
  compute::Machine& machine = engine_.machine();
  bool whole = true;
  machine.run({in_.rows(), int64_t(in_.output_rows.size()), true}, [&] {
    whole = decoder_.forward(machine, in_, ropes_, workspace_, [&](int64_t) { return !cancelled_; });
    if (whole && chosen > 0) machine.sample(in_, workspace_.logits, samples_);
  });
  const compute::StepStatus status = machine.finish();
  if (!status.ok) fail("{}", status.error);
  if (!whole) throw Cancelled();
}

void Rig::prefill(int64_t sequences, int64_t tokens, int64_t rows_a_step) {
  const int64_t chunk = std::max<int64_t>(1, std::min(rows_a_step, max_rows()) / sequences);
  for (int64_t at = 0; at < tokens; at += chunk) {
    const int64_t count = std::min(chunk, tokens - at);
    step(sequences, at, count, at + count == tokens ? 1 : 0);
  }
}

}  // namespace updraft::measure
