// Vocabulary: token text by id and id by token text. Ids may have holes; a hole's text is empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace updraft::text {

// Lets std::string_view look up std::string keys.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <class Value>
using TextMap = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

class Vocabulary {
 public:
  // The last text given to an id is its text; the first id given to a text is its id. Throws Error for an id that is
  // negative or absurdly large, and for a text that is.
  // `mergeable`: words of a text can become this token; an added token is only ever found whole.
  void add(std::string text, TokenId id, bool mergeable = true);
  void reserve(size_t tokens) { ids_.reserve(tokens), texts_.reserve(tokens); }
  void pad(int32_t size);  // holes up to size

  int32_t size() const { return int32_t(texts_.size()); }
  std::optional<TokenId> id_of(std::string_view text) const;
  const std::string& text(TokenId id) const;  // "" outside [0, size())
  bool is_mergeable(TokenId id) const { return mergeable_[size_t(id)]; }

 private:
  std::vector<std::string> texts_;
  std::vector<bool> mergeable_;
  TextMap<TokenId> ids_;
};

}  // namespace updraft::text
