// Runs a decoder over one sequence without the engine: all logits of a list of ids, cut into chunks. For tests only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "compute/machine.h"
#include "model/decoder.h"
#include "model/rope.h"

namespace updraft::test {

// Logits of every position [ids, vocabulary]; the sequence's RoPE context is the number of ids.
inline std::vector<float> run_decoder(compute::Machine& machine, const model::Decoder& decoder,
                                      std::span<const int32_t> ids, compute::KvType kv_dtype, int64_t chunk) {
  const int64_t tokens = int64_t(ids.size()), page_tokens = machine.info().page_tokens;
  const int64_t pages = (tokens + page_tokens - 1) / page_tokens, vocabulary = decoder.config().vocabulary_size;
  compute::RopeTables ropes;
  ropes.tables.push_back(model::make_rope_table(decoder.config(), tokens, tokens));
  model::Workspace w = decoder.make_workspace(machine, chunk, chunk, kv_dtype, pages);
  std::vector<float> result(static_cast<size_t>(tokens * vocabulary));
  compute::StepInputs in;
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t rows = std::min(chunk, tokens - begin);
    in.clear();
    for (int64_t r = 0; r < rows; ++r) {
      in.ids.push_back(ids[size_t(begin + r)]);
      in.positions.push_back(int32_t(begin + r));
      in.sequences.push_back(0);
      in.rope_tables.push_back(0);
      in.output_rows.push_back(int32_t(r));
    }
    in.page_tables.resize(size_t(pages));
    std::iota(in.page_tables.rbegin(), in.page_tables.rend(), 0);  // the last page first: order must not matter
    in.sequence.push_back({0, int32_t(rows), 0, int32_t(pages)});
    machine.run({rows, rows}, [&] { decoder.forward(machine, in, ropes, w); });
    machine.finish();
    for (int64_t r = 0; r < rows; ++r)
      machine.read_row(w.logits, r, std::span(result).subspan(size_t((begin + r) * vocabulary), size_t(vocabulary)));
  }
  return result;
}

}  // namespace updraft::test
