// Pager: the pages of one sequence, from admission to its end. It knows how a sequence begins (with pages that the
// prefix index remembers, with those of a sibling, or with none), takes a page as positions reach it, remembers full
// pages for others, and lets go of pages wholly behind the attention window. It moves page numbers only; a page that
// must be copied is named to the caller.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv_pool.h"

namespace updraft::engine {

// pages[p] holds positions [p * page_tokens, (p + 1) * page_tokens); -1: behind the window, given back.
struct PageTable {
  std::vector<int32_t> pages;
  int64_t promised = 0;                      // pages [pages.size(), promised) are reserved for it
  std::vector<PrefixIndex::Serial> entries;  // of its full pages, in the prefix index; 0: unknown there
  int64_t behind_window = 0;                 // pages [0, behind_window) are given back
};

struct SharedStart {
  int64_t pages = 0;                   // leading pages that exist already
  int64_t computed = 0;                // positions whose K and V they and the copied page hold
  int64_t cost = 0;                    // available pages that admission takes
  const PageTable* sibling = nullptr;  // whose pages they are; null: the prefix index's
  int32_t copied = -1;                 // the page of which page `pages` begins as a copy; -1: it begins empty
};

class Pager {
 public:
  // window: a row sees positions (position - window, position] in every layer; 0: some layer sees all.
  Pager(KvPool& pool, int64_t window, bool prefix_reuse) : pool_(pool), window_(window), prefix_reuse_(prefix_reuse) {}

  // How a sequence of `ids` that needs pages for `tokens` positions would begin. At least one id is left to compute.
  SharedStart find_start(std::span<const int32_t> ids, int64_t tokens, int64_t rope_table_key) const;
  // The same for a sequence whose ids are the first ids.size() of a sibling's, of which `computed` are in its pages.
  // Nothing when the sibling has not come far enough or has given back what is needed.
  std::optional<SharedStart> fork_start(std::span<const int32_t> ids, int64_t tokens, const PageTable& sibling,
                                        int64_t computed) const;

  struct Copy {
    int32_t from = -1, to = -1;
  };
  // Reserves and shares as `start` says; returns the page to copy, if any. CHECKs that start.cost is available.
  std::optional<Copy> admit(PageTable&, const SharedStart& start, std::span<const int32_t> ids, int64_t tokens,
                            int64_t rope_table_key);
  bool grow(PageTable&, int64_t tokens);   // reserves up to `tokens` positions; false: not available
  void cover(PageTable&, int64_t tokens);  // takes promised pages until `tokens` positions have one
  void remember(PageTable&, std::span<const int32_t> ids, int64_t computed, int64_t rope_table_key);  // full pages
  // The last page, which is not full, of a sequence that is about to be released.
  void remember_end(const PageTable&, std::span<const int32_t> ids, int64_t computed, int64_t rope_table_key);
  void drop_behind_window(PageTable&, int64_t computed);
  void release(PageTable&);                          // everything, promises too
  int64_t freed_by_release(const PageTable&) const;  // available pages that release() would add, at least

 private:
  int64_t first_visible_page(int64_t position) const;

  KvPool& pool_;
  int64_t window_;
  bool prefix_reuse_;
};

}  // namespace updraft::engine
