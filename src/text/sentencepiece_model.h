// tokenizer.model: sentencepiece's protocol buffer, read by hand (five messages' worth of fields), and a tokenizer of
// it. BPE models with the identity normalizer only; the others are refused by name. Source: google/sentencepiece,
// sentencepiece_model.proto.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/pipeline_tokenizer.h"

namespace updraft::text {

struct SentencePieceModel {
  enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    int type = kNormal;
  };
  std::vector<Piece> pieces;
  // trainer_spec
  int model_type = 1;  // unigram 1, bpe 2, word 3, char 4
  bool byte_fallback = false, whitespace_as_suffix = false;
  int bos_id = 1, eos_id = 2;
  // normalizer_spec
  std::string character_map;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

// Throws Error for what is not such a file; `name` is for messages.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& name);

// `prefix_every_stretch`: the space before the text is put before every stretch between special tokens (transformers'
// legacy behaviour), else before the whole text only.
TokenizerParts sentencepiece_parts(const SentencePieceModel&, const std::string& name, bool prefix_every_stretch);

}  // namespace updraft::text
