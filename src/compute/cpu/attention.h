// Attention on the CPU: finish_qkv (head norms, RoPE, storing K and V) and attend, over a ThreadTeam and one
// instruction set's kernels. A row's result is the same bits whatever other rows are in the step, however a prompt is
// cut, and for any number of threads: threads take (sequence, head, block of rows or span of pages), never part of a
// sum.
#pragma once

#include <cstdint>
#include <memory>

#include "base/thread_team.h"
#include "compute/cpu/kernels.h"
#include "compute/kv_geometry.h"
#include "compute/machine.h"
#include "compute/rope_tables.h"
#include "compute/step_inputs.h"

namespace updraft::compute::cpu {

// All memory that attend() needs, taken while opening: call reserve() from allocate_kv and reserve_rows() from
// allocate_rows; each only grows. Touched only as far as it is used.
class AttentionScratch {
 public:
  explicit AttentionScratch(int threads);
  ~AttentionScratch();
  AttentionScratch(const AttentionScratch&) = delete;
  AttentionScratch& operator=(const AttentionScratch&) = delete;

  void reserve(const KvGeometry& geometry, int64_t pages);
  void reserve_rows(int64_t max_rows);

  struct Impl;  // for the .cc alone
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

struct HeadNorms {
  const float* query = nullptr;  // [head_dim] or null: none
  const float* key = nullptr;
  float query_epsilon = 0;
  float key_epsilon = 0;
};

// qkv [rows, (query_heads + 2 key_value_heads) * head_dim], row after row: q heads normed and rotated to q
// [rows, query_heads * head_dim]; k heads normed, rotated, rounded and stored; v heads rounded and stored.
void finish_qkv(const Kernels& kernels, ThreadTeam& team, const StepInputs& in, const float* qkv,
                const AttentionSpec& spec, const HeadNorms& norms, const RopeTables& ropes, KvLayer kv, float* q);

// out[r] = softmax(scale q K^T) V over the positions row r may see   q, out [rows, query_heads * head_dim]
void attend(const Kernels& kernels, ThreadTeam& team, AttentionScratch& scratch, const StepInputs& in, const float* q,
            const AttentionSpec& spec, KvLayer kv, float* out);

}  // namespace updraft::compute::cpu
