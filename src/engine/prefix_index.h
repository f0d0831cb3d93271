// PrefixIndex: which KV pages hold which token ids, so that a prompt that begins as an earlier one did reuses its
// pages. A full page is found by (the entry of the page before it, its own ids), compared id by id, so a hit is exact
// and never a matter of luck with hashes; where a prompt goes its own way within a page, or an earlier sequence ended
// there, the page that has most of its ids is found, to be copied. It also keeps the order in which unreferenced pages
// are given up: least recently used first. It counts no references; that is KvPool's work.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace updraft::engine {

class PrefixIndex {
 public:
  // Names an entry for as long as the process lives; 0 names none.
  using Serial = uint64_t;

  PrefixIndex(int64_t pages, int64_t page_tokens);

  // The parent of a sequence's first page. Sequences whose RoPE tables differ never share a page. Within one index the
  // rest of the numerics key (machine, packing, KV dtype, ...) is constant.
  static Serial root(int64_t rope_table_key) { return (uint64_t{1} << 63) | uint64_t(rope_table_key); }

  struct Hit {
    int32_t page = -1;
    Serial serial = 0;
  };
  // The page that holds exactly `ids` [page_tokens] after the pages of `parent`.
  std::optional<Hit> find(Serial parent, std::span<const int32_t> ids) const;
  // Remembers `page`; when an equal page is known already, the known one stays. Returns the serial of the known entry,
  // or 0 when none can be made (no parent, or two different pages with one hash).
  Serial insert(Serial parent, std::span<const int32_t> ids, int32_t page);

  // Remembers what a sequence left in its last page: `ids`, fewer than a page holds. Nothing where a page of `parent`
  // is known that begins with them.
  void insert_end(Serial parent, std::span<const int32_t> ids, int32_t page);

  // The page after the pages of `parent`, among the last that came, that begins with the most of `ids`, and how many.
  struct Beginning {
    int32_t page = -1;
    int64_t tokens = 0;
  };
  Beginning find_beginning(Serial parent, std::span<const int32_t> ids) const;

  bool contains(int32_t page) const { return slots_[size_t(page)].serial != 0; }
  int64_t entries() const { return int64_t(by_hash_.size()); }  // full pages

  // Pages without references wait in the order of their release; a page in use is not among them.
  void make_evictable(int32_t page);
  void make_pinned(int32_t page);
  bool is_evictable(int32_t page) const { return slots_[size_t(page)].evictable; }
  int64_t evictable() const { return evictable_; }
  // Forgets the page that was released longest ago, and returns it. CHECKs evictable() > 0.
  int32_t evict();
  // Forgets every page; appends the evictable ones to `freed`.
  void clear(std::vector<int32_t>& freed);

 private:
  struct Slot {
    Serial serial = 0;  // 0: not in the index
    Serial parent = 0;
    uint64_t hash = 0;
    int64_t tokens = 0;              // whose ids are known: page_tokens_, or fewer in the last page of a sequence
    int32_t newer = -1, older = -1;  // neighbours among the evictable
    bool evictable = false;
  };

  uint64_t hash(Serial parent, std::span<const int32_t> ids) const;
  bool equal(int32_t page, Serial parent, std::span<const int32_t> ids) const;
  void put(int32_t page, const Slot&, std::span<const int32_t> ids);
  void forget(int32_t page);

  int64_t page_tokens_;
  std::vector<Slot> slots_;                                 // by page
  std::vector<int32_t> ids_;                                // [pages, page_tokens]
  std::unordered_map<uint64_t, int32_t> by_hash_;           // hash -> full page
  std::unordered_map<Serial, std::vector<int32_t>> after_;  // an entry -> the pages that follow it
  Serial next_serial_ = 1;
  int32_t newest_ = -1, oldest_ = -1;
  int64_t evictable_ = 0;
};

}  // namespace updraft::engine
