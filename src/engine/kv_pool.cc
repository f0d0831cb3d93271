#include "engine/kv_pool.h"

#include "base/check.h"

namespace updraft::engine {

KvPool::KvPool(int64_t pages, int64_t page_tokens)
    : page_tokens_(page_tokens), references_(size_t(pages), 0), index_(pages, page_tokens) {
  free_.reserve(size_t(pages));
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(int32_t(page));
}

bool KvPool::reserve(int64_t pages) {
  CHECK(pages >= 0) << pages;
  if (pages > available()) return false;
  reserved_ += pages;
  return true;
}

void KvPool::cancel_reservation(int64_t pages) {
  CHECK(pages >= 0 && pages <= reserved_) << pages << " of " << reserved_;
  reserved_ -= pages;
}

int32_t KvPool::take() {
  CHECK(reserved_ > 0) << "a page was taken without a reservation";
  if (free_.empty()) free_.push_back(index_.evict());
  const int32_t page = free_.back();
  free_.pop_back();
  --reserved_;
  references_[size_t(page)] = 1;
  return page;
}

void KvPool::share(int32_t page) {
  if (references_[size_t(page)]++ > 0) return;
  index_.make_pinned(page);
  CHECK(available() >= 0) << "a shared page was promised to another sequence";
}

void KvPool::release(int32_t page) {
  CHECK(references_[size_t(page)] > 0) << "page " << page << " is not held";
  if (--references_[size_t(page)] > 0) return;
  if (index_.contains(page)) {
    index_.make_evictable(page);
  } else {
    free_.push_back(page);
  }
}

void KvPool::refresh(int32_t page) {
  if (!index_.is_evictable(page)) return;
  index_.make_pinned(page);
  index_.make_evictable(page);
}

void KvPool::forget_prefixes() { index_.clear(free_); }

void KvPool::check() const {
  int64_t held = 0;
  std::vector<bool> is_free(references_.size(), false);
  for (int32_t page : free_) {
    CHECK(!is_free[size_t(page)] && references_[size_t(page)] == 0 && !index_.contains(page)) << "page " << page;
    is_free[size_t(page)] = true;
  }
  for (int32_t references : references_) {
    CHECK(references >= 0) << references;
    held += references > 0;
  }
  CHECK(held + free() + cached() == total()) << held << " held, " << free() << " free, " << cached() << " cached";
  CHECK(reserved_ >= 0 && available() >= 0) << reserved_ << " reserved, " << available() << " available";
}

}  // namespace updraft::engine
