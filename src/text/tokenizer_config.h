// What a model folder says about its tokenizer beside the vocabulary file: tokenizer_config.json,
// special_tokens_map.json and added_tokens.json, applied to the parts as transformers does when it loads the folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "text/json_fields.h"
#include "text/pipeline_tokenizer.h"

namespace updraft::text {

struct TokenizerConfig {
  std::filesystem::path folder;
  Json config = Json::object();          // tokenizer_config.json
  Json special_tokens = Json::object();  // special_tokens_map.json
  Json added_tokens = Json::object();    // added_tokens.json
  bool empty() const { return config.empty() && special_tokens.empty() && added_tokens.empty(); }

  // The files that name special tokens, the first to count: special_tokens_map.json only where there is no
  // added_tokens_decoder.
  std::vector<const Json*> naming_files() const;
  // The content of "bos_token" and the like, given as a string or as an object; "" when there is none.
  std::string special_token(const char* key) const;
};

// Missing files are no error; files that are not JSON objects are.
TokenizerConfig load_tokenizer_config(const std::filesystem::path& folder);

enum class VocabularyFile { kTokenizerJson, kTokenizerModel };

// Adds the added tokens and special tokens, sets bos and eos, and rebuilds what add_special puts around a text where
// transformers does. Of a tokenizer.json: for the Llama classes, unless its vocabulary is of bytes; others keep its
// post-processor whatever add_bos_token and add_eos_token say. Of a tokenizer.model: for the Llama classes, and for
// others when one of the two is written.
void apply(const TokenizerConfig&, VocabularyFile, TokenizerParts&);

}  // namespace updraft::text
