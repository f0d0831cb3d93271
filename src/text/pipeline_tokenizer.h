// PipelineTokenizer: the one implementation of Tokenizer. Every vocabulary format (tokenizer.json, tokenizer.model,
// GGUF) is read into the same parts: added tokens, normalizers, pre-tokenizers, merges, BOS/EOS, decoder.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace updraft::text {

struct TokenizerParts {
  Vocabulary vocabulary;  // of the model and of the added tokens
  std::vector<AddedToken> added;
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::vector<Merge> merges;
  BpeOptions bpe;
  std::vector<std::string> pseudo_characters;  // see Bpe
  DecoderSteps decoder;
  std::vector<TokenId> prefix, suffix;  // what add_special puts around the text
  std::optional<TokenId> bos, eos;
  bool split_special = false;  // special tokens in a text are text, whatever parse_special says
  std::string kind;            // "byte-level BPE"
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts);

  std::vector<TokenId> encode(std::string_view text, EncodeOptions) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override;
  std::unique_ptr<TokenDecoder> make_decoder(bool skip_special) const override;
  int32_t size() const override { return vocabulary_.size(); }
  std::optional<TokenId> id_of(std::string_view token) const override { return vocabulary_.id_of(token); }
  std::string token(TokenId id) const override;
  bool is_special(TokenId id) const override { return id >= 0 && id < size() && special_[size_t(id)]; }
  std::optional<TokenId> bos() const override { return bos_; }
  std::optional<TokenId> eos() const override { return eos_; }
  std::string description() const override;
  std::string token_bytes(TokenId, bool first, bool skip_special) const override;

  // Present, and not to be skipped.
  bool is_visible(TokenId id, bool skip_special) const {
    return id >= 0 && id < size() && !vocabulary_.text(id).empty() && !(skip_special && special_[size_t(id)]);
  }
  const DecoderSteps& decoder_steps() const { return decoder_; }

 private:
  // What one encode() at a time uses; kept for the next one, with the words it has learnt.
  struct Workspace {
    WordCache cache;
    Bpe::Workspace bpe;
  };
  class Lease;

  void encode_piece(std::string_view piece, bool first, bool parse_special, Workspace&,
                    std::vector<TokenId>& out) const;
  void encode_words(std::string_view text, bool first, Workspace&, std::vector<TokenId>& out) const;

  Vocabulary vocabulary_;
  Normalizers normalizers_;
  AddedTokens added_;
  PreTokenizers pre_tokenizers_;
  Bpe bpe_;
  DecoderSteps decoder_;
  std::vector<TokenId> prefix_, suffix_;
  std::optional<TokenId> bos_, eos_;
  bool split_special_;
  std::string kind_;
  std::vector<bool> special_;  // by id

  mutable std::mutex mutex_;  // guards idle_
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

// Merges of a vocabulary that is ordered by score (sentencepiece): every way to put a piece together from two, a higher
// score first, equal scores left to right. `mergeable[id]` says which tokens take part. Characters that are no pieces
// themselves become pseudo tokens (see Bpe).
std::vector<Merge> merges_by_score(const Vocabulary&, const std::vector<float>& scores,
                                   const std::vector<bool>& mergeable, std::vector<std::string>& pseudo_characters);

// The decoder of sentencepiece vocabularies: marks to spaces, byte tokens to bytes, one space off the beginning.
DecoderSteps sentencepiece_decoder(bool strip_space);

inline constexpr std::string_view kSpaceMark = "▁";  // U+2581, sentencepiece's space

}  // namespace updraft::text
