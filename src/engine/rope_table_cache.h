// RopeTableCache: the RoPE tables in use, one per rope_table_key. A sequence holds its table from admission to its end;
// a table that nobody holds stays until a few newer ones wait beside it, so that equal requests do not make it again.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/model_config.h"
#include "compute/rope_tables.h"

namespace updraft::engine {

class RopeTableCache {
 public:
  explicit RopeTableCache(const checkpoint::ModelConfig& config) : config_(config) {}

  // Sequences with equal keys have the same table.
  int64_t key(int64_t context) const;
  // Index into tables() of the table for `context`, with at least `positions` entries; one more holder.
  int32_t acquire(int64_t context, int64_t positions);
  void release(int32_t index);
  const compute::RopeTables& tables() const { return tables_; }

 private:
  struct Holder {
    int64_t key = 0;
    int64_t holders = 0;
  };

  const checkpoint::ModelConfig& config_;
  compute::RopeTables tables_;
  std::vector<Holder> holders_;  // by index; a null table is an empty place
};

}  // namespace updraft::engine
