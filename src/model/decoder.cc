#include "model/decoder.h"

#include <utility>

#include "base/check.h"

namespace updraft::model {

Decoder::Decoder(const checkpoint::ModelConfig& config, DecoderWeights weights)
    : config_(config), weights_(std::move(weights)) {
  CHECK(int(weights_.layers.size()) == config_.layers)
      << weights_.layers.size() << " of " << config_.layers << " layers";
}

compute::KvGeometry Decoder::kv_geometry(compute::KvType kv_dtype) const {
  return {config_.layers, config_.key_value_heads, config_.head_dim, kv_dtype};
}

Workspace Decoder::make_workspace(compute::Machine& machine, int64_t max_rows, int64_t max_output_rows,
                                  compute::KvType kv_dtype, int64_t kv_pages) const {
  const int64_t queries = int64_t(config_.query_heads) * config_.head_dim;
  Workspace w;
  w.x = machine.allocate_rows(max_rows, config_.hidden_size);
  w.q = machine.allocate_rows(max_rows, queries);
  w.attended = machine.allocate_rows(max_rows, queries);
  w.hidden = machine.allocate_rows(max_rows, config_.intermediate_size);
  w.logits = machine.allocate_rows(max_output_rows, config_.vocabulary_size);
  w.kv = machine.allocate_kv(kv_geometry(kv_dtype), kv_pages);
  return w;
}

bool Decoder::forward(compute::Machine& machine, const compute::StepInputs& in, const compute::RopeTables& ropes,
                      Workspace& w, const StepWatch& watch) const {
  machine.embed(in, weights_.embedding, w.x);
  for (const LayerWeights& layer : weights_.layers) {
    if (watch && !watch(in.rows() * layer.index / config_.layers)) return false;
    const compute::KvLayer kv{w.kv.get(), layer.index};
    machine.project_qkv(in, w.x, layer.attention_norm, layer.qkv, layer.attention, ropes, kv, w.q);
    machine.attend(in, w.q, layer.attention, kv, w.attended);
    machine.project_add(in, w.attended, layer.output, w.x);
    machine.gated_project(in, w.x, layer.mlp_norm, layer.gate_up, w.hidden);
    machine.project_add(in, w.hidden, layer.down, w.x);
  }
  if (!in.output_rows.empty()) machine.logits(in, w.x, weights_.final_norm, weights_.head, w.logits);
  return true;
}

}  // namespace updraft::model
