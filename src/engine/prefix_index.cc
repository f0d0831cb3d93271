#include "engine/prefix_index.h"

#include <algorithm>

#include "base/check.h"

namespace updraft::engine {

// Of the pages that follow one entry, those that came last: thousands may follow a common prefix, and every waiting
// sequence asks at every step.
constexpr size_t kMostLookedAt = 64;

PrefixIndex::PrefixIndex(int64_t pages, int64_t page_tokens)
    : page_tokens_(page_tokens), slots_(size_t(pages)), ids_(size_t(pages * page_tokens)) {
  by_hash_.reserve(size_t(pages));
}

uint64_t PrefixIndex::hash(Serial parent, std::span<const int32_t> ids) const {
  uint64_t h = parent * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u;
  for (int32_t id : ids) {
    h = (h ^ uint32_t(id)) * 0xFF51AFD7ED558CCDu;
    h ^= h >> 32;
  }
  return h;
}

bool PrefixIndex::equal(int32_t page, Serial parent, std::span<const int32_t> ids) const {
  return slots_[size_t(page)].parent == parent &&
         std::equal(ids.begin(), ids.end(), ids_.begin() + int64_t(page) * page_tokens_);
}

std::optional<PrefixIndex::Hit> PrefixIndex::find(Serial parent, std::span<const int32_t> ids) const {
  if (parent == 0) return std::nullopt;
  auto found = by_hash_.find(hash(parent, ids));
  if (found == by_hash_.end() || !equal(found->second, parent, ids)) return std::nullopt;
  return Hit{found->second, slots_[size_t(found->second)].serial};
}

PrefixIndex::Serial PrefixIndex::insert(Serial parent, std::span<const int32_t> ids, int32_t page) {
  CHECK(int64_t(ids.size()) == page_tokens_) << ids.size() << " ids for a page of " << page_tokens_;
  if (parent == 0) return 0;
  const uint64_t key = hash(parent, ids);
  auto [found, fresh] = by_hash_.try_emplace(key, page);
  if (!fresh) return equal(found->second, parent, ids) ? slots_[size_t(found->second)].serial : 0;
  put(page, {.serial = next_serial_++, .parent = parent, .hash = key, .tokens = page_tokens_}, ids);
  return slots_[size_t(page)].serial;
}

void PrefixIndex::insert_end(Serial parent, std::span<const int32_t> ids, int32_t page) {
  CHECK(!ids.empty() && int64_t(ids.size()) < page_tokens_) << ids.size() << " ids at the end of a sequence";
  if (parent == 0 || find_beginning(parent, ids).tokens == int64_t(ids.size())) return;
  put(page, {.serial = next_serial_++, .parent = parent, .tokens = int64_t(ids.size())}, ids);
}

void PrefixIndex::put(int32_t page, const Slot& slot, std::span<const int32_t> ids) {
  CHECK(!contains(page)) << "page " << page << " is in the index already";
  slots_[size_t(page)] = slot;
  std::copy(ids.begin(), ids.end(), ids_.begin() + int64_t(page) * page_tokens_);
  after_[slot.parent].push_back(page);
}

PrefixIndex::Beginning PrefixIndex::find_beginning(Serial parent, std::span<const int32_t> ids) const {
  Beginning best;
  const auto found = after_.find(parent);
  if (parent == 0 || found == after_.end()) return best;
  const std::vector<int32_t>& pages = found->second;
  const size_t looked_at = std::min(pages.size(), kMostLookedAt);
  for (const int32_t page : std::span(pages).last(looked_at)) {
    const auto known = std::span(ids_).subspan(size_t(page * page_tokens_), size_t(slots_[size_t(page)].tokens));
    const int64_t tokens = std::mismatch(known.begin(), known.end(), ids.begin(), ids.end()).first - known.begin();
    if (tokens > best.tokens) best = {page, tokens};
  }
  return best;
}

void PrefixIndex::make_evictable(int32_t page) {
  Slot& slot = slots_[size_t(page)];
  CHECK(slot.serial != 0 && !slot.evictable) << "page " << page;
  slot.evictable = true;
  slot.newer = -1;
  slot.older = newest_;
  (newest_ < 0 ? oldest_ : slots_[size_t(newest_)].newer) = page;
  newest_ = page;
  ++evictable_;
}

void PrefixIndex::make_pinned(int32_t page) {
  Slot& slot = slots_[size_t(page)];
  CHECK(slot.evictable) << "page " << page;
  slot.evictable = false;
  (slot.newer < 0 ? newest_ : slots_[size_t(slot.newer)].older) = slot.older;
  (slot.older < 0 ? oldest_ : slots_[size_t(slot.older)].newer) = slot.newer;
  --evictable_;
}

void PrefixIndex::forget(int32_t page) {
  Slot& slot = slots_[size_t(page)];
  if (slot.tokens == page_tokens_) by_hash_.erase(slot.hash);
  std::vector<int32_t>& siblings = after_[slot.parent];
  siblings.erase(std::find(siblings.begin(), siblings.end(), page));
  if (siblings.empty()) after_.erase(slot.parent);
  slot = Slot{};
}

int32_t PrefixIndex::evict() {
  CHECK(evictable_ > 0);
  const int32_t page = oldest_;
  make_pinned(page);
  forget(page);
  return page;
}

void PrefixIndex::clear(std::vector<int32_t>& freed) {
  while (evictable_ > 0) freed.push_back(evict());
  for (size_t page = 0; page < slots_.size(); ++page) {
    if (slots_[page].serial != 0) forget(int32_t(page));
  }
}

}  // namespace updraft::engine
