// KvPool: who holds which page of the KV cache. Pages are reserved before they are taken, so a sequence that was
// admitted never runs out of memory; a page may be shared by several sequences and returns when the last one lets go,
// to the free list or, if the prefix index knows it, to the pages that may be reused or evicted. It holds numbers,
// never memory.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/prefix_index.h"

namespace updraft::engine {

class KvPool {
 public:
  KvPool(int64_t pages, int64_t page_tokens);

  int64_t total() const { return int64_t(references_.size()); }
  int64_t page_tokens() const { return page_tokens_; }
  int64_t pages_for(int64_t tokens) const { return (tokens + page_tokens_ - 1) / page_tokens_; }
  int64_t free() const { return int64_t(free_.size()); }               // neither referenced nor remembered
  int64_t cached() const { return index_.evictable(); }                // remembered, not referenced
  int64_t reserved() const { return reserved_; }                       // promised, not yet taken
  int64_t available() const { return free() + cached() - reserved_; }  // may still be promised

  bool reserve(int64_t pages);  // false, and nothing changes, when fewer are available
  void cancel_reservation(int64_t pages);
  int32_t take();  // turns one reserved page into a held one, evicting a cached page if need be
  // One more holder. A cached page that nobody held leaves the available ones: the caller has made sure of one.
  void share(int32_t page);
  void release(int32_t page);
  // Of the pages that nobody holds, this one is given up last.
  void refresh(int32_t page);
  int32_t references(int32_t page) const { return references_[size_t(page)]; }

  PrefixIndex& index() { return index_; }
  const PrefixIndex& index() const { return index_; }
  void forget_prefixes();  // after a failure of the machine: what the pages hold is unknown

  void check() const;  // CHECKs the invariants; for tests

 private:
  int64_t page_tokens_;
  std::vector<int32_t> references_;  // by page
  std::vector<int32_t> free_;        // a stack
  int64_t reserved_ = 0;
  PrefixIndex index_;
};

}  // namespace updraft::engine
