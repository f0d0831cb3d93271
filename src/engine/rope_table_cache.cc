#include "engine/rope_table_cache.h"

#include "base/check.h"
#include "model/rope.h"

namespace updraft::engine {
namespace {

constexpr int kKeptUnused = 4;

}  // namespace

int64_t RopeTableCache::key(int64_t context) const { return model::rope_table_key(config_, context); }

int32_t RopeTableCache::acquire(int64_t context, int64_t positions) {
  const int64_t wanted = key(context);
  int32_t empty = -1;
  for (int32_t i = 0; i < int32_t(holders_.size()); ++i) {
    const auto& table = tables_.tables[size_t(i)];
    if (table == nullptr) {
      empty = i;
    } else if (holders_[size_t(i)].key == wanted && table->positions >= positions) {
      ++holders_[size_t(i)].holders;
      return i;
    }
  }
  auto table = model::make_rope_table(config_, context, positions);
  if (empty < 0) {
    holders_.emplace_back();
    tables_.tables.emplace_back();
    empty = int32_t(holders_.size()) - 1;
  }
  holders_[size_t(empty)] = {wanted, 1};
  tables_.tables[size_t(empty)] = std::move(table);
  return empty;
}

void RopeTableCache::release(int32_t index) {
  CHECK(holders_[size_t(index)].holders > 0) << "table " << index << " is not held";
  --holders_[size_t(index)].holders;
  int unused = 0;
  for (size_t i = 0; i < holders_.size(); ++i) unused += tables_.tables[i] != nullptr && holders_[i].holders == 0;
  for (size_t i = 0; i < holders_.size() && unused > kKeptUnused; ++i) {
    if (tables_.tables[i] == nullptr || holders_[i].holders > 0 || int32_t(i) == index) continue;
    tables_.tables[i] = nullptr;
    --unused;
  }
}

}  // namespace updraft::engine
