#include "session/memory_plan.h"

namespace updraft::session {

MemoryPlan plan_memory(const checkpoint::ModelConfig& c, DType weights, compute::KvType kv, int64_t context) {
  constexpr int64_t kProgramBytes = 300'000'000;
  const int64_t hidden = c.hidden_size, query = int64_t(c.query_heads) * c.head_dim,
                key_value = int64_t(c.key_value_heads) * c.head_dim, inner = c.intermediate_size;
  const int64_t layer = hidden * (query + 2 * key_value) + query * hidden + 3 * hidden * inner;
  const int64_t table = int64_t(c.vocabulary_size) * hidden;
  const int64_t vectors =
      (2 * hidden + (c.query_key_norm ? 2 * c.head_dim : 0) + (c.qkv_bias ? query + 2 * key_value : 0) +
       (c.attention_output_bias ? hidden : 0) + (c.mlp_bias ? 2 * inner + hidden : 0)) *
          c.layers +
      hidden;
  MemoryPlan plan;
  const int64_t each = bytes_per_element(weights);
  plan.streamed_bytes = (layer * c.layers + table) * each + vectors * 4;
  plan.weights_bytes = plan.streamed_bytes + (c.tied_embeddings ? 0 : table * each);
  plan.kv_bytes_per_token = compute::KvGeometry{c.layers, c.key_value_heads, c.head_dim, kv}.bytes_per_token();
  plan.kv_bytes = plan.kv_bytes_per_token * context;
  plan.total_bytes = plan.weights_bytes + plan.kv_bytes + kProgramBytes;
  return plan;
}

}  // namespace updraft::session
