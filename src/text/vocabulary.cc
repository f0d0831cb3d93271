#include "text/vocabulary.h"

#include <utility>

#include "base/error.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

constexpr TokenId kLargestId = 4 << 20;  // ten times the largest vocabulary in use: a guard against a corrupt file
constexpr size_t kLongestToken = 4096;

}  // namespace

void Vocabulary::add(std::string text, TokenId id, bool mergeable) {
  if (id < 0 || id > kLargestId)
    fail("The tokenizer gives the token '{}' the id {}, which is outside [0, {}].", text, id, kLargestId);
  if (text.size() > kLongestToken || !is_valid_utf8(text)) {
    fail("The tokenizer's token {} is not UTF-8 or longer than {} bytes.", id, kLongestToken);
  }
  pad(id + 1);
  ids_.emplace(text, id);
  texts_[size_t(id)] = std::move(text);
  mergeable_[size_t(id)] = mergeable;
}

void Vocabulary::pad(int32_t size) {
  if (size <= this->size()) return;
  texts_.resize(size_t(size));
  mergeable_.resize(size_t(size));
}

std::optional<TokenId> Vocabulary::id_of(std::string_view text) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string& Vocabulary::text(TokenId id) const {
  static const std::string kNothing;
  return id >= 0 && id < size() ? texts_[size_t(id)] : kNothing;
}

}  // namespace updraft::text
