// Bpe: the merges of byte-pair encoding, exactly as Hugging Face `tokenizers` and sentencepiece apply them: of all
// adjacent pairs that may merge, the one of lowest rank, leftmost first. Words of up to 48 symbols by scanning, longer
// ones with a heap, so that no text takes quadratic time. Source: Sennrich et al. 2016; google/sentencepiece bpe_model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace updraft::text {

struct Merge {
  TokenId left, right, result;
  uint32_t rank;
};

struct BpeOptions {
  bool byte_level = false;     // symbols are bytes (their GPT-2 character is in the vocabulary), else characters
  bool byte_fallback = false;  // a character without token becomes its bytes <0xXX>, when all of them are tokens
  bool fuse_unknown = false;   // neighbouring unknown characters become one unknown token
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  TokenId unknown = -1;        // -1: unknown characters vanish
};

class Bpe {
 public:
  // A merge may name pseudo tokens: ids from vocabulary.size() on, characters that are no tokens themselves but merge
  // to one; pseudo_characters[id - vocabulary.size()] is the character.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, BpeOptions options,
      std::vector<std::string> pseudo_characters = {});

  // Memory that one thread at a time uses again and again.
  struct Workspace {
    struct Symbol {
      TokenId id;
      int32_t previous, next;  // -1 at the ends; next == -2: merged away
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      TokenId result;
    };
    std::vector<TokenId> ids;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // Appends the ids of one word (valid UTF-8, any length below 2 GiB).
  void encode(std::string_view word, std::vector<TokenId>& out, Workspace&) const;

  // No merge's result has `mark` behind anything but `mark`, and `mark` is a symbol: cutting the text there changes
  // nothing.
  bool never_joins(const Vocabulary&, std::string_view mark) const;

 private:
  struct Result {
    uint32_t rank;
    TokenId id;  // -1: the pair does not merge
  };
  // (left, right) -> Result. Open addressing on the pair as one 64-bit key.
  class PairTable {
   public:
    explicit PairTable(const std::vector<Merge>& merges);
    Result find(TokenId left, TokenId right) const;

   private:
    struct Slot {
      uint64_t key;
      Result result;
    };
    std::vector<Slot> slots_;
    int shift_;
  };

  TokenId symbol_of(std::string_view character) const;
  void to_symbols(std::string_view word, std::vector<TokenId>& ids) const;
  void to_byte_symbols(std::string_view word, std::vector<TokenId>& ids) const;
  bool fall_back(std::string_view character, std::vector<TokenId>& ids) const;
  void merge_by_scanning(std::vector<TokenId>& ids, std::vector<Workspace::Candidate>& pairs) const;
  void merge_by_heap(std::vector<TokenId>& ids, Workspace&) const;
  void append(const std::vector<TokenId>& ids, std::vector<TokenId>& out) const;

  BpeOptions options_;
  PairTable pairs_;
  std::vector<TokenId> byte_symbols_;   // [256] ids of bytes: GPT-2's characters, or <0xXX>; -1 for none
  std::vector<TokenId> ascii_symbols_;  // [128]
  TextMap<TokenId> characters_;         // beyond ASCII
  TextMap<TokenId> words_;              // for ignore_merges
  std::vector<TokenId> merge_results_;
  TokenId first_pseudo_ = 0;
  std::vector<std::string> pseudo_characters_;
};

}  // namespace updraft::text
