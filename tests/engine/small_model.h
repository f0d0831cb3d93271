// A small random decoder in memory, on any machine, without files; and an oracle for what the engine must answer: one
// sequence, run by itself and from its beginning for every token. For tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "compute/machine.h"
#include "compute/sampling.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "model/decoder.h"
#include "tests/support/random.h"
#include "tests/support/run_decoder.h"

namespace updraft::test {

class RandomRows final : public RowSource {
 public:
  RandomRows(int64_t rows, int64_t columns, uint64_t seed, float scale) : RowSource(rows, columns, DType::kF32) {
    Random random(seed);
    for (int64_t i = 0; i < rows * columns; ++i) values_.push_back(scale * random.normal());
  }
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    std::memcpy(out, values_.data() + begin * columns(), size_t((end - begin) * row_bytes()));
  }

 private:
  std::vector<float> values_;
};

struct SmallModelOptions {
  int window = 0;
  checkpoint::RopeKind rope = checkpoint::RopeKind::kDefault;
  int64_t max_context = 4096;
};

inline constexpr int kSmallVocabulary = 61;

inline model::Decoder make_small_model(compute::Machine& machine, const SmallModelOptions& options = {}) {
  checkpoint::ModelConfig config;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.layers = 2;
  config.query_heads = 2;
  config.key_value_heads = 1;
  config.head_dim = 8;
  config.vocabulary_size = kSmallVocabulary;
  config.max_context = options.max_context;
  config.rope.kind = options.rope;
  if (options.rope == checkpoint::RopeKind::kDynamic) config.rope.factor = 2;
  config.windows.assign(size_t(config.layers), options.window);
  uint64_t seed = 100;
  const auto pack = [&](int64_t rows, int64_t columns) {
    auto part = std::make_shared<RandomRows>(rows, columns, ++seed, 2 / std::sqrt(float(columns)));
    return machine.pack({{{std::move(part), nullptr}}}, compute::Packing::kF32);
  };
  const auto norm = [&] { return compute::Norm{machine.pack_vector(std::vector<float>(16, 1.0f)), 1e-6f}; };
  model::DecoderWeights weights;
  weights.embedding = pack(kSmallVocabulary, 16);
  for (int i = 0; i < config.layers; ++i) {
    model::LayerWeights layer;
    layer.index = i;
    layer.attention = {2, 1, 8, 1 / std::sqrt(8.0f), options.window, {}, {}};
    layer.attention_norm = norm();
    layer.mlp_norm = norm();
    layer.qkv = pack((2 + 2) * 8, 16);
    layer.output = pack(16, 16);
    layer.gate_up = pack(48, 16);
    layer.down = pack(16, 24);
    weights.layers.push_back(std::move(layer));
  }
  weights.final_norm = norm();
  weights.head = pack(kSmallVocabulary, 16);
  return model::Decoder(config, std::move(weights));
}

// What answer `index` of a request must be, when the engine's max_context is `max_context`: every token from a fresh
// run over all ids before it. For models whose RoPE table does not depend on the context.
inline std::vector<engine::Token> expected_tokens(compute::Machine& machine, const model::Decoder& decoder,
                                                  const engine::Request& request, int32_t index,
                                                  compute::KvType kv_dtype, int64_t max_context) {
  std::vector<engine::Token> tokens;
  std::vector<int32_t> ids = request.ids;
  engine::Sampler sampler(request, index);
  compute::SamplingScratch scratch;
  const int64_t limit = std::min(request.context.value_or(max_context), max_context);
  while (int64_t(ids.size()) < limit && int64_t(tokens.size()) < request.max_new_tokens.value_or(limit)) {
    const std::vector<float> logits = run_decoder(machine, decoder, ids, kv_dtype, int64_t(ids.size()));
    compute::Sample sample;
    const auto last = std::span(logits).last(size_t(decoder.config().vocabulary_size));
    compute::choose(last, sampler.rules(ids), scratch, sample);
    if (sample.id < 0) break;  // every token is forbidden: the engine answers with an error
    tokens.push_back({sample.id, sample.log_probability, sample.top});
    ids.push_back(sample.id);
    const auto& eos = request.eos_ids;
    if (std::find(eos.begin(), eos.end(), sample.id) != eos.end()) break;
  }
  return tokens;
}

}  // namespace updraft::test
