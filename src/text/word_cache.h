// WordCache: words to ids, bounded, for one thread at a time. Short words with few tokens lie whole in one 32-byte
// slot; longer ones in an arena that is emptied when it is full. It can forget at any time and never gives a wrong
// answer.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace updraft::text {

class WordCache {
 public:
  WordCache();

  // Appends the ids of the word and returns true, when it is known.
  bool find(std::string_view word, std::vector<TokenId>& out) const;
  void insert(std::string_view word, std::span<const TokenId> ids);

 private:
  static constexpr size_t kShortBytes = 16, kLongBytes = 255, kShortIds = 3;

  struct ShortSlot {  // `first` and `second` with the size are the word
    uint64_t first = 0, second = 0;
    uint8_t bytes = 0, id_count = 0;
    TokenId ids[kShortIds] = {};
  };
  struct LongSlot {
    uint64_t hash = 0;
    uint32_t text_at = 0, ids_at = 0;
    uint16_t bytes = 0, id_count = 0;  // bytes == 0: free
  };

  std::vector<ShortSlot> short_;
  std::vector<LongSlot> long_;
  std::string long_text_;
  std::vector<TokenId> long_ids_;
  size_t long_count_ = 0;
  uint32_t turn_ = 0;
};

}  // namespace updraft::text
