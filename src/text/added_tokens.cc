#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

uint8_t class_before(std::string_view text, size_t end) {
  size_t i = previous_character(text, end);
  return UnicodeClasses::instance().of(next_code_point(text, i));
}
uint8_t class_behind(std::string_view text, size_t begin) {
  return UnicodeClasses::instance().of(next_code_point(text, begin));
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && (class_before(text, begin) & kWordBit)) ||
         (end < text.size() && (class_behind(text, end) & kWordBit));
}

size_t spaces_before(std::string_view text, size_t end, size_t limit) {
  while (end > limit && (class_before(text, end) & kCategoryMask) == kSpace) end = previous_character(text, end);
  return end;
}
size_t spaces_behind(std::string_view text, size_t begin) {
  while (begin < text.size() && (class_behind(text, begin) & kCategoryMask) == kSpace)
    begin += utf8_length(text[begin]);
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizers& normalizers) : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string, int>> raw, normalized;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    if (token.content.empty()) continue;
    if (token.special) specials_.insert(token.content);
    if (token.found == AddedToken::Found::kNever) continue;
    std::string content = token.content;
    const bool as_is = token.found == AddedToken::Found::kAsIs;
    bool first = true;
    if (token.normalized && !as_is) normalize(normalizers, content, first);
    if (token.normalized && content != token.content) renamed_.emplace(token.id, content);
    (token.normalized || as_is ? normalized : raw).emplace_back(std::move(content), int(i));
  }
  raw_.build(raw);
  normalized_.build(normalized);
}

void AddedTokens::Matcher::build(const std::vector<std::pair<std::string, int>>& patterns) {
  for (const auto& [content, token] : patterns) {
    if (content.empty()) continue;
    if (nodes_.empty()) nodes_.emplace_back();
    begins_[uint8_t(content[0])] = true;
    int node = 0;
    for (char byte : content) {
      auto& children = nodes_[size_t(node)].children;
      const auto place = std::lower_bound(children.begin(), children.end(), std::pair<uint8_t, int>(uint8_t(byte), 0));
      if (place != children.end() && place->first == uint8_t(byte)) {
        node = place->second;
      } else {
        node = int(nodes_.size());
        children.insert(place, {uint8_t(byte), node});
        nodes_.emplace_back();  // invalidates `children`, which is not used again
      }
    }
    // Of two tokens found by one content the last counts: so does tokenizers 0.23 where the contents are the same.
    // Where only the normalizer makes them so, it takes either, from one run to the next.
    nodes_[size_t(node)].token = token;
  }
}

std::pair<int, size_t> AddedTokens::Matcher::longest(std::string_view text, size_t begin) const {
  std::pair<int, size_t> found{-1, begin};
  int node = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto& children = nodes_[size_t(node)].children;
    const auto place = std::lower_bound(children.begin(), children.end(), std::pair<uint8_t, int>(uint8_t(text[i]), 0));
    if (place == children.end() || place->first != uint8_t(text[i])) break;
    node = place->second;
    if (nodes_[size_t(node)].token >= 0) found = {nodes_[size_t(node)].token, i + 1};
  }
  return found;
}

void AddedTokens::split_raw(std::string_view text, bool parse_special, const Sink& sink) const {
  split(raw_, text, true, parse_special, sink);
}
void AddedTokens::split_normalized(std::string_view piece, bool first, bool parse_special, const Sink& sink) const {
  split(normalized_, piece, first, parse_special, sink);
}

void AddedTokens::split(const Matcher& matcher, std::string_view text, bool first, bool parse_special,
                        const Sink& sink) const {
  size_t done = 0;  // everything before has been given out
  for (size_t i = 0; !matcher.empty() && i < text.size();) {
    const auto [index, match_end] =
        matcher.may_begin(text[i]) ? matcher.longest(text, i) : std::pair<int, size_t>(-1, i);
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[size_t(index)];
    size_t begin = i, end = match_end;
    i = match_end;  // matches never overlap, whether they are taken or not
    if (token.special && !parse_special) continue;
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.left_strip) begin = done > begin ? done : spaces_before(text, begin, done);
    if (token.right_strip) end = spaces_behind(text, end);
    if (begin >= end) continue;  // a token of white space, all of which the token before has taken
    if (done < begin) sink.on_text(text.substr(done, begin - done), first && done == 0);
    sink.on_token(token.id);
    done = end;
  }
  if (done < text.size()) sink.on_text(text.substr(done), first && done == 0);
}

}  // namespace updraft::text
