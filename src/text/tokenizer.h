// Tokenizer: text to token ids and back, equal to Hugging Face `tokenizers` (tokenizer.json), to sentencepiece
// (tokenizer.model alone) and to llama.cpp's reading of a GGUF vocabulary. Immutable after loading; thread-safe.
// Source: huggingface/tokenizers; google/sentencepiece (BPE).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace updraft::text {

using TokenId = int32_t;

struct EncodeOptions {
  bool add_special = false;   // BOS/EOS as the post-processor does
  bool parse_special = true;  // special tokens written out in the text become their id; added tokens that are not
                              // special (tool call marks and the like) always do
};

// A GGUF vocabulary as plain data (checkpoint::EmbeddedVocabulary has the same fields; floors 2 do not see each other).
struct VocabularyData {
  std::string model, pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  TokenId bos_id = -1, eos_id = -1, unknown_id = -1, padding_id = -1;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

// Ids to text as they come: appends to `out` what no later token can change. Everything pushed and then finish() is
// decode() of the same ids, for decode() is made of it. Borrows its tokenizer.
class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  virtual void push(TokenId, std::string& out) = 0;
  virtual void finish(std::string& out) = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<TokenId> encode(std::string_view text, EncodeOptions = {}) const = 0;
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special) const = 0;

  virtual std::unique_ptr<TokenDecoder> make_decoder(bool skip_special) const = 0;

  virtual int32_t size() const = 0;                                        // ids are in [0, size())
  virtual std::optional<TokenId> id_of(std::string_view token) const = 0;  // "<s>", "▁the"
  virtual std::string token(TokenId) const = 0;                            // its text in the vocabulary; "" when unused
  virtual bool is_special(TokenId) const = 0;                              // skipped by skip_special
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  virtual std::string description() const = 0;  // "byte-level BPE, 49152 tokens, Unicode 16.0"

  // For log-probabilities: the bytes that one token adds in the middle of a text, before invalid UTF-8 is replaced,
  // with the decoder's rules for the first token of a text applied when `first`. Special tokens give "" when
  // skip_special.
  virtual std::string token_bytes(TokenId, bool first, bool skip_special) const = 0;
};

// A folder (tokenizer.json, else tokenizer.model; with tokenizer_config.json and special_tokens_map.json), or one of
// those two files. Throws Error naming the file and the component that is not supported.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path&);
std::unique_ptr<Tokenizer> make_tokenizer(const VocabularyData&);
// The same tokenizer as a tokenizer.json of Hugging Face `tokenizers`. Throws Error as make_tokenizer does.
std::string to_tokenizer_json(const VocabularyData&);
inline constexpr int32_t kByteTokenizerTokens = 3 + 256;  // the smallest size: three special tokens and the bytes
// The small embedded vocabulary used with synthetic weights and no folder: 256 bytes and a few specials, padded to
// `size`.
std::unique_ptr<Tokenizer> make_byte_tokenizer(int32_t size);

}  // namespace updraft::text
