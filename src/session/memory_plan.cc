#include "session/memory_plan.h"

#include <fmt/format.h>

#include "checkpoint/decoder_tensors.h"

namespace updraft::session {
namespace {

using model::MatrixRole;

// Adds up matrices as the loader would pack them.
class Planner {
 public:
  Planner(const checkpoint::Checkpoint* stored, DType natural, const model::WeightChoice& choice)
      : stored_(stored), natural_(natural), choice_(choice) {}

  int64_t matrix(MatrixRole role, const std::vector<std::string>& parts, int64_t rows, int64_t columns) const {
    std::vector<std::optional<checkpoint::StoredIntegers>> integers;
    for (const std::string& part : parts) {
      const checkpoint::TensorInfo* info = stored_ == nullptr ? nullptr : stored_->info(part + ".weight");
      integers.push_back(info == nullptr ? std::nullopt : info->integers);
    }
    const model::Kept kept = choose_packing(choice_, role, natural_, integers);
    if (!compute::is_integer(kept.packing)) return rows * columns * bytes_per_element(kept.dtype());
    const int64_t scales = kept.format.groups(columns) * (kept.format.offset == Offset::kNone ? 2 : 4);
    return rows * (columns * kept.format.bits / 8 + scales);
  }

 private:
  const checkpoint::Checkpoint* stored_;
  const DType natural_;
  const model::WeightChoice choice_;
};

}  // namespace

std::vector<model::WeightChoice> usual_choices() {
  std::vector<model::WeightChoice> choices;
  for (const char* name : {"f32", "f16", "bf16", "int8", "int4"}) choices.push_back(*model::parse_weight_choice(name));
  return choices;
}

MemoryPlan plan_memory(const checkpoint::ModelConfig& c, const checkpoint::Checkpoint* stored, DType natural,
                       const model::WeightChoice& choice, compute::KvType kv, int64_t context) {
  constexpr int64_t kProgramBytes = 300'000'000;
  const Planner plan_for(stored, natural, choice);
  const int64_t hidden = c.hidden_size, query = int64_t(c.query_heads) * c.head_dim,
                key_value = int64_t(c.key_value_heads) * c.head_dim, inner = c.intermediate_size;
  MemoryPlan plan;
  for (int layer = 0; layer < c.layers; ++layer) {
    const auto name = [&](const char* part) { return fmt::format("model.layers.{}.{}", layer, part); };
    plan.streamed_bytes +=
        plan_for.matrix(MatrixRole::kLayer,
                        {name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")},
                        query + 2 * key_value, hidden) +
        plan_for.matrix(MatrixRole::kLayer, {name("self_attn.o_proj")}, hidden, query) +
        plan_for.matrix(MatrixRole::kLayer, {name("mlp.gate_proj"), name("mlp.up_proj")}, 2 * inner, hidden) +
        plan_for.matrix(MatrixRole::kLayer, {name("mlp.down_proj")}, hidden, inner);
  }
  for (const checkpoint::DecoderTensor& tensor : checkpoint::decoder_tensors(c))
    if (tensor.shape.size() == 1) plan.streamed_bytes += tensor.columns() * 4;
  const char* const head = c.tied_embeddings ? "model.embed_tokens" : "lm_head";
  plan.streamed_bytes += plan_for.matrix(MatrixRole::kHead, {head}, c.vocabulary_size, hidden);
  plan.weights_bytes = plan.streamed_bytes;
  if (!c.tied_embeddings)
    plan.weights_bytes += plan_for.matrix(MatrixRole::kEmbedding, {"model.embed_tokens"}, c.vocabulary_size, hidden);
  plan.kv_bytes_per_token = compute::KvGeometry{c.layers, c.key_value_heads, c.head_dim, kv}.bytes_per_token();
  plan.kv_bytes = plan.kv_bytes_per_token * context;
  plan.total_bytes = plan.weights_bytes + plan.kv_bytes + kProgramBytes;
  return plan;
}

MemoryPlan plan_memory(const checkpoint::Checkpoint& stored, const model::WeightChoice& choice, compute::KvType kv,
                       int64_t context) {
  return plan_memory(stored.config(), &stored, stored.natural_dtype(), choice, kv, context);
}

}  // namespace updraft::session
