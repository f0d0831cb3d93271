#include "engine/scoring.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace updraft::engine {
namespace {

// What a call holds, given back however it ends.
struct Held {
  const ScoringParts& parts;
  PageTable table;
  int32_t rope_table = -1;

  explicit Held(const ScoringParts& p) : parts(p) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    parts.pager.release(table);
    if (rope_table >= 0) parts.ropes.release(rope_table);
  }
};

}  // namespace

bool score(const ScoringParts& parts, std::span<const int32_t> ids, int64_t chunk, const LogitsRow& row,
           const model::StepWatch& watch) {
  Held held(parts);
  const int64_t tokens = int64_t(ids.size());
  held.rope_table = parts.ropes.acquire(tokens, std::max(tokens, parts.positions));
  std::vector<float> logits(size_t(parts.workspace.logits->columns));
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t count = std::min(chunk, tokens - begin);
    if (!parts.pager.grow(held.table, begin + count)) {
      fail(
          "There is no room for {} tokens in the KV cache; raise its capacity (--context) or wait for running "
          "requests.",
          tokens);
    }
    parts.pager.cover(held.table, begin + count);
    parts.builder.clear();
    parts.builder.add_rows(ids, begin, count, held.table.pages, held.rope_table);
    parts.builder.add_outputs_of_last_rows(count);
    model::StepWatch watch_step;
    if (watch) watch_step = [&](int64_t rows) { return watch(begin + rows); };
    const auto status = parts.builder.run(parts.ropes.tables(), watch_step);
    if (!status) return false;
    if (!status->ok) fail("{}", status->error);
    for (int64_t i = 0; i < count; ++i) {
      parts.machine.read_row(parts.workspace.logits, i, logits);
      row(begin + i, logits);
    }
    parts.pager.drop_behind_window(held.table, begin + count);
  }
  return true;
}

}  // namespace updraft::engine
