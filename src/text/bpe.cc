#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

constexpr size_t kScanLimit = 48;
constexpr uint64_t kNoKey = ~uint64_t(0);
constexpr int32_t kGone = -2;

uint64_t pair_key(TokenId left, TokenId right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

}  // namespace

Bpe::PairTable::PairTable(const std::vector<Merge>& merges) {
  const int bits = std::max(4, int(std::bit_width(merges.size() * 2)));
  shift_ = 64 - bits;
  slots_.assign(size_t(1) << bits, Slot{kNoKey, {0, -1}});
  for (const Merge& merge : merges) {
    const uint64_t key = pair_key(merge.left, merge.right);
    size_t i = key * 0x9e3779b97f4a7c15u >> shift_;
    while (slots_[i].key != kNoKey && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {key, {merge.rank, merge.result}};  // of two lines for one pair the last counts
  }
}

Bpe::Result Bpe::PairTable::find(TokenId left, TokenId right) const {
  const uint64_t key = pair_key(left, right);
  for (size_t i = key * 0x9e3779b97f4a7c15u >> shift_;; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].key == key) return slots_[i].result;
    if (slots_[i].key == kNoKey) return {~uint32_t(0), -1};
  }
}

Bpe::Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, BpeOptions options,
         std::vector<std::string> pseudo_characters)
    : options_(options),
      pairs_(merges),
      byte_symbols_(256, -1),
      ascii_symbols_(128, -1),
      first_pseudo_(vocabulary.size()),
      pseudo_characters_(std::move(pseudo_characters)) {
  for (size_t byte = 0; byte < 256; ++byte) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    const std::string name = options_.byte_level ? byte_level_characters()[byte]
                                                 : std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
    byte_symbols_[byte] = vocabulary.id_of(name).value_or(-1);
  }
  const auto add_character = [&](const std::string& text, TokenId id) {
    if (text.empty() || text.size() != utf8_length(text[0])) return;
    if (text.size() == 1) {
      ascii_symbols_[size_t(text[0])] = id;
    } else {
      characters_.emplace(text, id);
    }
  };
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.text(id);
    if (text.empty() || !vocabulary.is_mergeable(id) || vocabulary.id_of(text) != id) continue;
    add_character(text, id);
    if (!options_.ignore_merges) continue;
    if (!options_.byte_level) {
      words_.emplace(text, id);
    } else if (auto bytes = byte_level_bytes(text)) {
      words_.emplace(std::move(*bytes), id);
    }
  }
  for (size_t i = 0; i < pseudo_characters_.size(); ++i)
    add_character(pseudo_characters_[i], first_pseudo_ + TokenId(i));
  for (const Merge& merge : merges) merge_results_.push_back(merge.result);
}

bool Bpe::never_joins(const Vocabulary& vocabulary, std::string_view mark) const {
  if (options_.byte_level || options_.ignore_merges || symbol_of(mark) < 0) return false;
  // A character that is nothing at all vanishes, and what stood on its sides may then merge.
  const bool falls_back = options_.byte_fallback && *std::min_element(byte_symbols_.begin(), byte_symbols_.end()) >= 0;
  if (options_.unknown < 0 && !falls_back) return false;
  for (TokenId id : merge_results_) {
    const std::string_view text = vocabulary.text(id);
    for (size_t i = text.find(mark, 1); i != std::string_view::npos; i = text.find(mark, i + 1)) {
      if (!text.substr(0, i).ends_with(mark)) return false;
    }
  }
  return true;
}

void Bpe::encode(std::string_view word, std::vector<TokenId>& out, Workspace& workspace) const {
  if (options_.ignore_merges) {
    if (const auto found = words_.find(word); found != words_.end()) {
      out.push_back(found->second);
      return;
    }
  }
  std::vector<TokenId>& ids = workspace.ids;
  ids.clear();
  if (options_.byte_level) {
    to_byte_symbols(word, ids);
  } else {
    to_symbols(word, ids);
  }
  if (ids.size() > kScanLimit) {
    merge_by_heap(ids, workspace);
  } else if (ids.size() > 1) {
    merge_by_scanning(ids, workspace.heap);
  }
  append(ids, out);
}

TokenId Bpe::symbol_of(std::string_view character) const {
  if (character.size() == 1) return ascii_symbols_[size_t(character[0])];
  const auto found = characters_.find(character);
  return found == characters_.end() ? -1 : found->second;
}

void Bpe::to_byte_symbols(std::string_view word, std::vector<TokenId>& ids) const {
  bool unknown_before = false;
  for (char c : word) {
    const TokenId id = byte_symbols_[uint8_t(c)];
    if (id >= 0) {
      ids.push_back(id);
    } else if (options_.unknown >= 0 && !(unknown_before && options_.fuse_unknown)) {
      ids.push_back(options_.unknown);
    }
    unknown_before = id < 0;
  }
}

bool Bpe::fall_back(std::string_view character, std::vector<TokenId>& ids) const {
  if (!options_.byte_fallback) return false;
  for (char byte : character) {
    if (byte_symbols_[uint8_t(byte)] < 0) return false;
  }
  for (char byte : character) ids.push_back(byte_symbols_[uint8_t(byte)]);
  return true;
}

void Bpe::to_symbols(std::string_view word, std::vector<TokenId>& ids) const {
  int unknown_waiting = 0;  // given out only before the next known character, as the reference does
  for (size_t i = 0; i < word.size();) {
    const std::string_view character = word.substr(i, utf8_length(word[i]));
    i += character.size();
    const TokenId id = symbol_of(character);
    if (id >= 0) {
      if (unknown_waiting > 0) ids.push_back(options_.unknown);
      unknown_waiting = 0;
      ids.push_back(id);
    } else if (!fall_back(character, ids) && options_.unknown >= 0) {
      if (unknown_waiting > 0 && !options_.fuse_unknown) ids.push_back(options_.unknown);
      unknown_waiting = 1;
    }
  }
  if (unknown_waiting > 0) ids.push_back(options_.unknown);
}

// `pairs[i]` describes the pair (i, i + 1).
void Bpe::merge_by_scanning(std::vector<TokenId>& ids, std::vector<Workspace::Candidate>& pairs) const {
  const auto look_up = [&](size_t i) -> Workspace::Candidate {
    const Result result = pairs_.find(ids[i], ids[i + 1]);
    return {result.rank, int32_t(i), result.id};
  };
  pairs.clear();
  for (size_t i = 0; i + 1 < ids.size(); ++i) pairs.push_back(look_up(i));
  while (!pairs.empty()) {
    size_t best = 0;
    for (size_t i = 1; i < pairs.size(); ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].result < 0) return;
    ids[best] = pairs[best].result;
    ids.erase(ids.begin() + ptrdiff_t(best) + 1);
    pairs.erase(pairs.begin() + ptrdiff_t(best));
    if (best < pairs.size()) pairs[best] = look_up(best);
    if (best > 0) pairs[best - 1] = look_up(best - 1);
  }
}

void Bpe::merge_by_heap(std::vector<TokenId>& ids, Workspace& workspace) const {
  CHECK(ids.size() < size_t(1) << 31) << ids.size() << " symbols in one word";
  auto& symbols = workspace.symbols;
  auto& heap = workspace.heap;
  const auto later = [](const Workspace::Candidate& a, const Workspace::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const int32_t count = int32_t(ids.size());
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < count; ++i) symbols.push_back({ids[size_t(i)], i - 1, i + 1 < count ? i + 1 : -1});
  const auto candidate = [&](int32_t position, Workspace::Candidate& out) {
    const Workspace::Symbol& left = symbols[size_t(position)];
    const Result result = pairs_.find(left.id, symbols[size_t(left.next)].id);
    out = {result.rank, position, result.id};
    return result.id >= 0;
  };
  Workspace::Candidate next;
  for (int32_t i = 0; i + 1 < count; ++i) {
    if (candidate(i, next)) heap.push_back(next);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    const Workspace::Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    Workspace::Symbol& left = symbols[size_t(top.position)];
    if (left.next < 0) continue;  // the last symbol, or merged away
    const Workspace::Symbol right = symbols[size_t(left.next)];
    // The pair may have changed since; a pair that gives the same token is as good.
    if (pairs_.find(left.id, right.id).id != top.result) continue;
    symbols[size_t(left.next)].next = kGone;
    left.id = top.result;
    left.next = right.next;
    const auto push = [&](int32_t position) {
      if (!candidate(position, next)) return;
      heap.push_back(next);
      std::push_heap(heap.begin(), heap.end(), later);
    };
    if (left.next >= 0) {
      symbols[size_t(left.next)].previous = top.position;
      push(top.position);
    }
    if (left.previous >= 0) push(left.previous);
  }
  ids.clear();
  for (int32_t i = 0; i >= 0; i = symbols[size_t(i)].next) ids.push_back(symbols[size_t(i)].id);
}

void Bpe::append(const std::vector<TokenId>& ids, std::vector<TokenId>& out) const {
  if (pseudo_characters_.empty()) {
    out.insert(out.end(), ids.begin(), ids.end());
    return;
  }
  for (TokenId id : ids) {
    if (id < first_pseudo_) {
      out.push_back(id);
    } else if (!fall_back(pseudo_characters_[size_t(id - first_pseudo_)], out) && options_.unknown >= 0) {
      out.push_back(options_.unknown);
    }
  }
}

}  // namespace updraft::text
