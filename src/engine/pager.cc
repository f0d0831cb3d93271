#include "engine/pager.h"

#include <algorithm>

#include "base/check.h"

namespace updraft::engine {

int64_t Pager::first_visible_page(int64_t position) const {
  if (window_ == 0) return 0;
  return std::max<int64_t>(0, position - window_ + 1) / pool_.page_tokens();
}

SharedStart Pager::find_start(std::span<const int32_t> ids, int64_t tokens, int64_t rope_table_key) const {
  const int64_t page_tokens = pool_.page_tokens();
  SharedStart start;
  start.cost = pool_.pages_for(tokens);
  if (!prefix_reuse_) return start;
  PrefixIndex::Serial parent = PrefixIndex::root(rope_table_key);
  while ((start.pages + 1) * page_tokens < int64_t(ids.size())) {
    auto hit = pool_.index().find(parent, ids.subspan(size_t(start.pages * page_tokens), size_t(page_tokens)));
    if (!hit) break;
    parent = hit->serial;
    if (pool_.references(hit->page) > 0) --start.cost;
    ++start.pages;
  }
  start.computed = start.pages * page_tokens;
  const int64_t wanted = std::min(page_tokens, int64_t(ids.size()) - 1 - start.computed);
  const PrefixIndex::Beginning beginning =
      pool_.index().find_beginning(parent, ids.subspan(size_t(start.computed), size_t(std::max<int64_t>(0, wanted))));
  start.copied = beginning.page;
  start.computed += beginning.tokens;
  return start;
}

std::optional<SharedStart> Pager::fork_start(std::span<const int32_t> ids, int64_t tokens, const PageTable& sibling,
                                             int64_t computed) const {
  SharedStart start;
  // The last id is computed again, as a row of its own, for its logits choose the first token.
  start.computed = int64_t(ids.size()) - 1;
  start.pages = start.computed / pool_.page_tokens();
  start.sibling = &sibling;
  if (computed < start.computed || sibling.behind_window > first_visible_page(start.computed)) return std::nullopt;
  if (start.computed % pool_.page_tokens() != 0) start.copied = sibling.pages[size_t(start.pages)];
  start.cost = pool_.pages_for(tokens) - start.pages;
  return start;
}

std::optional<Pager::Copy> Pager::admit(PageTable& table, const SharedStart& start, std::span<const int32_t> ids,
                                        int64_t tokens, int64_t rope_table_key) {
  CHECK(table.pages.empty() && table.promised == 0);
  CHECK(start.cost <= pool_.available()) << start.cost << " pages of " << pool_.available();
  table.promised = pool_.pages_for(tokens);
  table.behind_window = start.sibling != nullptr ? start.sibling->behind_window : 0;
  PrefixIndex::Serial parent = PrefixIndex::root(rope_table_key);
  for (int64_t p = 0; p < start.pages; ++p) {
    int32_t page = -1;
    if (start.sibling != nullptr) {
      page = start.sibling->pages[size_t(p)];
      if (p < int64_t(start.sibling->entries.size())) table.entries.push_back(start.sibling->entries[size_t(p)]);
    } else {
      const int64_t page_tokens = pool_.page_tokens();
      auto hit = pool_.index().find(parent, ids.subspan(size_t(p * page_tokens), size_t(page_tokens)));
      CHECK(hit.has_value()) << "page " << p << " left the prefix index";
      parent = hit->serial;
      table.entries.push_back(parent);
      page = hit->page;
    }
    if (page >= 0) pool_.share(page);
    table.pages.push_back(page);
  }
  CHECK(pool_.reserve(table.promised - start.pages));
  if (start.copied < 0) return std::nullopt;
  pool_.refresh(start.copied);
  const Copy copy{start.copied, pool_.take()};
  table.pages.push_back(copy.to);
  if (copy.to == copy.from) return std::nullopt;  // the last page there was: it holds what the copy would
  return copy;
}

bool Pager::grow(PageTable& table, int64_t tokens) {
  const int64_t more = pool_.pages_for(tokens) - table.promised;
  if (more <= 0) return true;
  if (!pool_.reserve(more)) return false;
  table.promised += more;
  return true;
}

void Pager::cover(PageTable& table, int64_t tokens) {
  const int64_t pages = pool_.pages_for(tokens);
  CHECK(pages <= table.promised) << pages << " pages of " << table.promised << " promised";
  while (int64_t(table.pages.size()) < pages) table.pages.push_back(pool_.take());
}

void Pager::remember(PageTable& table, std::span<const int32_t> ids, int64_t computed, int64_t rope_table_key) {
  if (!prefix_reuse_) return;
  const int64_t page_tokens = pool_.page_tokens();
  for (int64_t p = int64_t(table.entries.size()); (p + 1) * page_tokens <= computed; ++p) {
    const PrefixIndex::Serial parent = p == 0 ? PrefixIndex::root(rope_table_key) : table.entries.back();
    const int32_t page = table.pages[size_t(p)];
    // A page that came from a sibling may already be behind the window, or be remembered under the sibling's entry.
    const auto own = ids.subspan(size_t(p * page_tokens), size_t(page_tokens));
    if (page >= 0 && !pool_.index().contains(page)) {
      table.entries.push_back(pool_.index().insert(parent, own, page));
    } else {
      auto hit = pool_.index().find(parent, own);
      table.entries.push_back(hit ? hit->serial : 0);
    }
  }
}

void Pager::remember_end(const PageTable& table, std::span<const int32_t> ids, int64_t computed,
                         int64_t rope_table_key) {
  const int64_t full = int64_t(table.entries.size()), begin = full * pool_.page_tokens();
  if (!prefix_reuse_ || computed <= begin || full >= int64_t(table.pages.size())) return;
  const int32_t page = table.pages[size_t(full)];
  if (page < 0 || pool_.index().contains(page)) return;
  pool_.index().insert_end(full == 0 ? PrefixIndex::root(rope_table_key) : table.entries.back(),
                           ids.subspan(size_t(begin), size_t(computed - begin)), page);
}

void Pager::drop_behind_window(PageTable& table, int64_t computed) {
  const int64_t visible = std::min(first_visible_page(computed), int64_t(table.pages.size()));
  for (; table.behind_window < visible; ++table.behind_window) {
    int32_t& page = table.pages[size_t(table.behind_window)];
    pool_.release(page);
    page = -1;
  }
}

void Pager::release(PageTable& table) {
  // Last page first: of a chain, the end is evicted before the beginning, without which it could not be found.
  for (auto page = table.pages.rbegin(); page != table.pages.rend(); ++page) {
    if (*page >= 0) pool_.release(*page);
  }
  pool_.cancel_reservation(table.promised - int64_t(table.pages.size()));
  table = PageTable{};
}

int64_t Pager::freed_by_release(const PageTable& table) const {
  int64_t freed = table.promised - int64_t(table.pages.size());
  for (int32_t page : table.pages) freed += page >= 0 && pool_.references(page) == 1;
  return freed;
}

}  // namespace updraft::engine
