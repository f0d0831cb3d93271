// AddedTokens: the tokens that are found in the text before anything else (special tokens, tool calls, ...), leftmost
// first, the longest at one place, in two passes: over the raw text and over the normalized pieces between. Behaves as
// the added vocabulary of Hugging Face `tokenizers`.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/function_ref.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"

namespace updraft::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;      // skipped by decode(skip_special); not parsed without parse_special
  bool normalized = false;   // found in normalized text, by its own normalized content
  bool single_word = false;  // only where no word character touches it
  bool left_strip = false;   // takes the white space before it
  bool right_strip = false;  // takes the white space behind it
  // kUsual: as `normalized` says. kAsIs: in normalized text, its content not normalized. kNever: it only has its flags.
  enum class Found { kUsual, kAsIs, kNever } found = Found::kUsual;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizers& normalizers);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // What a token is found by, where that is not its content: what it decodes to, as in tokenizers 0.23.
  const std::unordered_map<TokenId, std::string>& renamed() const { return renamed_; }
  bool is_special(std::string_view content) const { return specials_.contains(std::string(content)); }

  // Calls on_token(id) and on_text(piece, begins the text) in order. Without parse_special, special tokens are plain
  // text.
  struct Sink {
    FunctionRef<void(TokenId)> on_token;
    FunctionRef<void(std::string_view piece, bool first)> on_text;
  };
  void split_raw(std::string_view text, bool parse_special, const Sink&) const;
  // `first`: this piece begins the text.
  void split_normalized(std::string_view piece, bool first, bool parse_special, const Sink&) const;

 private:
  // A trie over bytes; one node's children lie in a sorted stretch of `edges`.
  class Matcher {
   public:
    void build(const std::vector<std::pair<std::string, int>>& patterns);  // content, index of the token
    bool empty() const { return nodes_.empty(); }
    // The longest pattern at `begin`: its token's index and its end; index -1 for none.
    std::pair<int, size_t> longest(std::string_view text, size_t begin) const;
    bool may_begin(char byte) const { return begins_[uint8_t(byte)]; }

   private:
    struct Node {
      int token = -1;
      std::vector<std::pair<uint8_t, int>> children;
    };
    std::vector<Node> nodes_;
    bool begins_[256] = {};
  };
  void split(const Matcher&, std::string_view text, bool first, bool parse_special, const Sink&) const;

  std::vector<AddedToken> tokens_;
  std::unordered_set<std::string> specials_;
  std::unordered_map<TokenId, std::string> renamed_;
  Matcher raw_, normalized_;
};

}  // namespace updraft::text
