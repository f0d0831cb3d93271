// Finding a tokenizer's files, and the embedded one for when there is none.
#include <fmt/format.h>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/pipeline_tokenizer.h"
#include "text/read_file.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json.h"

namespace updraft::text {
namespace {

TokenizerParts load_json(const std::filesystem::path& file, const TokenizerConfig& config) {
  TokenizerParts parts = naming(file.string(), [&] { return parse_tokenizer_json(read_file(file), file.string()); });
  // Without a configuration the post-processor is the only one to say what begins and ends a text.
  if (!parts.prefix.empty()) parts.bos = parts.prefix.front();
  if (!parts.suffix.empty()) parts.eos = parts.suffix.back();
  apply(config, VocabularyFile::kTokenizerJson, parts);
  return parts;
}

// Alone, a tokenizer.model is what sentencepiece makes of it: "<s>" in a text is text. With a tokenizer_config.json it
// is transformers' LlamaTokenizer, which finds special tokens in the text.
TokenizerParts load_model(const std::filesystem::path& file, const TokenizerConfig& config) {
  const bool legacy = field_or(config.config, "legacy", true, file.string());
  TokenizerParts parts = sentencepiece_parts(parse_sentencepiece_model(read_file(file), file.string()), file.string(),
                                             legacy && !config.empty());
  apply(config, VocabularyFile::kTokenizerModel, parts);
  return parts;
}

void check_ids(const TokenizerParts& parts, const std::filesystem::path& file) {
  for (const auto* ids : {&parts.prefix, &parts.suffix}) {
    for (TokenId id : *ids) {
      if (id < 0 || id >= parts.vocabulary.size())
        fail("{}: the post_processor adds the id {}, which is no token.", file.string(), id);
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  fs::path file = path;
  TokenizerConfig config;
  if (fs::is_directory(path)) {
    config = load_tokenizer_config(path);
    file = path / "tokenizer.json";
    if (!fs::exists(file)) file = path / "tokenizer.model";
    if (!fs::exists(file)) fail("{}: the folder has neither tokenizer.json nor tokenizer.model.", path.string());
  }
  const bool json = file.extension() == ".json";
  const fs::path other = json && fs::is_directory(path) ? path / "tokenizer.model" : fs::path();
  if (!json && file.filename().string().find(".model") == std::string::npos) {
    fail("{}: not a tokenizer.json, a tokenizer.model or a folder with one of them.", path.string());
  }
  TokenizerParts parts;
  try {
    parts = json ? load_json(file, config) : load_model(file, config);
  } catch (const UnsupportedComponent& error) {
    if (other.empty() || !fs::exists(other))
      fail("{}; a tokenizer.model beside it, where the model has one, would be taken instead.", error.what());
    parts = load_model(other, config);
    parts.kind += fmt::format(" from {} ({})", other.filename().string(), error.what());
  }
  check_ids(parts, file);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

std::unique_ptr<Tokenizer> make_byte_tokenizer(int32_t size) {
  if (size < kByteTokenizerTokens)
    fail("A vocabulary of {} tokens is too small: the byte tokenizer needs {}.", size, kByteTokenizerTokens);
  TokenizerParts parts;
  for (const char* special : {"<unk>", "<s>", "</s>"}) {
    AddedToken token;
    token.id = parts.vocabulary.size();
    token.content = special;
    token.special = true;
    parts.vocabulary.add(special, token.id, false);
    parts.added.push_back(std::move(token));
  }
  for (const std::string& character : byte_level_characters()) parts.vocabulary.add(character, parts.vocabulary.size());
  parts.vocabulary.pad(size);
  parts.bpe.byte_level = true;
  DecoderStep decode;
  decode.kind = DecoderStep::Kind::kByteLevel;
  parts.decoder.push_back(std::move(decode));
  parts.bos = 1;
  parts.eos = 2;
  parts.prefix = {1};
  parts.kind = "bytes";
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace updraft::text
