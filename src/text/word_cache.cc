#include "text/word_cache.h"

#include <algorithm>
#include <cstring>

namespace updraft::text {
namespace {

constexpr size_t kShortSlots = 1 << 15, kWays = 4;
constexpr size_t kLongSlots = 1 << 14;
constexpr size_t kLongTextBytes = 1 << 20, kLongIds = 1 << 18;

uint64_t load(const char* p) {
  uint64_t value;
  std::memcpy(&value, p, 8);
  return value;
}

struct Key {
  uint64_t first, second;
};

// A word of up to 16 bytes as two integers, one to one for a given size; the loads overlap rather than branch on every
// size.
Key short_key(std::string_view word) {
  const char* const p = word.data();
  const size_t n = word.size();
  if (n >= 8) return {load(p), load(p + n - 8)};
  if (n >= 4) {
    uint32_t head, tail;
    std::memcpy(&head, p, 4);
    std::memcpy(&tail, p + n - 4, 4);
    return {uint64_t(tail) << 32 | head, 0};
  }
  if (n == 0) return {0, 0};
  return {uint64_t(uint8_t(p[0])) | uint64_t(uint8_t(p[n / 2])) << 8 | uint64_t(uint8_t(p[n - 1])) << 16, 0};
}

uint64_t mix(uint64_t a, uint64_t b) {
  const uint64_t x = (a ^ 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  const uint64_t y = (x ^ (x >> 29) ^ b) * 0x94d049bb133111ebu;
  return y ^ (y >> 32);
}

uint64_t long_hash(std::string_view word) {
  uint64_t hash = word.size();
  size_t i = 0;
  for (; i + 8 <= word.size(); i += 8) hash = mix(hash, load(word.data() + i));
  const Key rest = short_key(word.substr(i));
  return mix(hash, rest.first);
}

size_t short_place(Key key, size_t bytes) {
  return mix(key.first + bytes, key.second) & (kShortSlots - 1) & ~(kWays - 1);
}

}  // namespace

WordCache::WordCache() : short_(kShortSlots), long_(kLongSlots) {}

bool WordCache::find(std::string_view word, std::vector<TokenId>& out) const {
  if (word.size() <= kShortBytes) {
    const Key key = short_key(word);
    const ShortSlot* const slots = &short_[short_place(key, word.size())];
    for (size_t way = 0; way < kWays; ++way) {
      const ShortSlot& slot = slots[way];
      if (slot.first == key.first && slot.second == key.second && slot.bytes == word.size()) {
        out.insert(out.end(), slot.ids, slot.ids + slot.id_count);
        return true;
      }
    }
  }
  if (word.size() > kLongBytes || long_count_ == 0) return false;
  const uint64_t hash = long_hash(word);
  for (size_t i = hash & (kLongSlots - 1);; i = (i + 1) & (kLongSlots - 1)) {
    const LongSlot& slot = long_[i];
    if (slot.bytes == 0) return false;
    if (slot.hash != hash || std::string_view(long_text_).substr(slot.text_at, slot.bytes) != word) continue;
    out.insert(out.end(), long_ids_.begin() + slot.ids_at, long_ids_.begin() + slot.ids_at + slot.id_count);
    return true;
  }
}

void WordCache::insert(std::string_view word, std::span<const TokenId> ids) {
  if (word.empty()) return;
  if (word.size() <= kShortBytes && ids.size() <= kShortIds) {
    const Key key = short_key(word);
    ShortSlot* const slots = &short_[short_place(key, word.size())];
    size_t way = 0;
    while (way < kWays && slots[way].bytes != 0) ++way;
    if (way == kWays) way = turn_++ % kWays;
    slots[way] = {key.first, key.second, uint8_t(word.size()), uint8_t(ids.size()), {}};
    std::copy(ids.begin(), ids.end(), slots[way].ids);
    return;
  }
  if (word.size() > kLongBytes) return;
  if (long_count_ >= kLongSlots / 2 || long_text_.size() + word.size() > kLongTextBytes ||
      long_ids_.size() + ids.size() > kLongIds) {
    long_.assign(kLongSlots, {});
    long_text_.clear();
    long_ids_.clear();
    long_count_ = 0;
  }
  const uint64_t hash = long_hash(word);
  size_t i = hash & (kLongSlots - 1);
  while (long_[i].bytes != 0) i = (i + 1) & (kLongSlots - 1);
  long_[i] = {hash, uint32_t(long_text_.size()), uint32_t(long_ids_.size()), uint16_t(word.size()),
              uint16_t(ids.size())};
  long_text_ += word;
  long_ids_.insert(long_ids_.end(), ids.begin(), ids.end());
  ++long_count_;
}

}  // namespace updraft::text
