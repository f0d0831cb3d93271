// A GGUF file's vocabulary as a tokenizer: the models `llama` (sentencepiece) and `gpt2` (byte-level, with a named
// pre-tokenizer), with llama.cpp's defaults where the file is silent.
#include <string_view>
#include <utility>

#include "base/error.h"
#include "text/json_fields.h"
#include "text/pipeline_tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

enum GgufTokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

int type_of(const VocabularyData& data, TokenId id) {
  return size_t(id) < data.types.size() ? data.types[size_t(id)] : kNormal;
}

std::optional<TokenId> checked(TokenId id, const char* what, const VocabularyData& data) {
  if (id == -1) return std::nullopt;
  if (id < 0 || size_t(id) >= data.tokens.size()) {
    fail("The GGUF vocabulary's {} token id {} is outside its {} tokens.", what, id, data.tokens.size());
  }
  return id;
}

void add_tokens(const VocabularyData& data, TokenizerParts& parts) {
  if (data.tokens.empty()) fail("The GGUF file has no vocabulary (tokenizer.ggml.tokens).");
  parts.vocabulary.reserve(data.tokens.size());
  for (TokenId id = 0; size_t(id) < data.tokens.size(); ++id) {
    const std::string& text = data.tokens[size_t(id)];
    const int type = type_of(data, id);
    parts.vocabulary.add(text, id, type != kControl && type != kUserDefined);
    if (text.empty() || (type != kControl && type != kUserDefined && type != kUnknown)) continue;
    AddedToken token;
    token.id = id;
    token.content = text;
    token.special = type != kUserDefined;
    parts.added.push_back(std::move(token));
  }
}

void add_ends(const VocabularyData& data, bool bos_by_default, TokenizerParts& parts) {
  parts.bos = checked(data.bos_id, "BOS", data);
  parts.eos = checked(data.eos_id, "EOS", data);
  if (data.add_bos.value_or(bos_by_default) && parts.bos) parts.prefix.push_back(*parts.bos);
  if (data.add_eos.value_or(false) && parts.eos) parts.suffix.push_back(*parts.eos);
}

TokenizerParts sentencepiece_vocabulary(const VocabularyData& data) {
  TokenizerParts parts;
  add_tokens(data, parts);
  if (data.scores.size() != data.tokens.size()) {
    fail("The GGUF vocabulary has {} tokens and {} scores.", data.tokens.size(), data.scores.size());
  }
  std::vector<bool> mergeable;
  for (TokenId id = 0; size_t(id) < data.tokens.size(); ++id) {
    mergeable.push_back(type_of(data, id) == kNormal && !data.tokens[size_t(id)].empty());
  }
  parts.merges = merges_by_score(parts.vocabulary, data.scores, mergeable, parts.pseudo_characters);
  parts.bpe.byte_fallback = true;
  parts.bpe.fuse_unknown = true;
  parts.bpe.unknown = checked(data.unknown_id, "unknown", data).value_or(-1);
  const bool add_space = data.add_space_prefix.value_or(true);
  if (add_space) parts.normalizers.push_back(make_prepend(std::string(kSpaceMark), false));
  parts.normalizers.push_back(make_replace(" ", std::string(kSpaceMark)));
  parts.decoder = sentencepiece_decoder(add_space);
  parts.kind = "sentencepiece BPE with byte fallback";
  add_ends(data, true, parts);
  return parts;
}

struct NamedPreTokenizer {
  std::string_view name;
  Scanner scanner;
  bool single_digits, ignore_merges, add_bos;
};
// Other names of the same rules in llama.cpp.
constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
    {"llama3", "llama-bpe"},  {"llama-v3", "llama-bpe"}, {"falcon3", "llama-bpe"},      {"falcon-h1", "llama-bpe"},
    {"pixtral", "llama-bpe"}, {"lfm2", "llama-bpe"},     {"deepseek-r1-qwen", "qwen2"}, {"kormo", "qwen2"},
};
constexpr NamedPreTokenizer kPreTokenizers[] = {
    {"gpt-2", scan_gpt2, false, false, false},  {"llama-bpe", scan_llama3, false, true, true},
    {"qwen2", scan_qwen2, false, false, false}, {"tekken", scan_tekken, false, true, true},
    {"smollm", scan_gpt2, true, false, false},
};

void add_merges(const VocabularyData& data, TokenizerParts& parts) {
  if (data.merges.empty())
    fail(
        "The GGUF vocabulary's merges (tokenizer.ggml.merges) are missing, without which every text falls apart into "
        "bytes; convert the model again.");
  const auto id_of = [&](std::string_view token) {
    const auto id = parts.vocabulary.id_of(token);
    if (!id) fail("The GGUF vocabulary's merges name '{}', which is not one of its tokens.", token);
    return *id;
  };
  parts.merges.reserve(data.merges.size());
  for (const std::string& merge : data.merges) {
    const size_t space = merge.find(' ', 1);  // a token is not empty
    if (space == std::string::npos)
      fail("The GGUF vocabulary's merge '{}' is not two tokens with a space between.", merge);
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    parts.merges.push_back({id_of(left), id_of(right), id_of(left + right), uint32_t(parts.merges.size())});
  }
}

const NamedPreTokenizer& pre_tokenizer_of(const VocabularyData& data) {
  std::string_view name = data.pre;
  for (const auto& [other, known] : kOtherNames)
    if (other == name) name = known;
  for (const NamedPreTokenizer& known : kPreTokenizers) {
    if (known.name == name) return known;
  }
  fail(
      "The GGUF vocabulary's pre-tokenizer '{}' (tokenizer.ggml.pre) is not supported; known are gpt-2, llama-bpe, "
      "qwen2, tekken, smollm and other names of these rules. Take the model's folder, or its weights beside token ids.",
      data.pre);
}

TokenizerParts byte_level_vocabulary(const VocabularyData& data) {
  const NamedPreTokenizer* chosen = &pre_tokenizer_of(data);
  TokenizerParts parts;
  add_tokens(data, parts);
  add_merges(data, parts);
  if (chosen->single_digits) parts.pre_tokenizers.push_back(make_class_split(kNumericBit, SplitBehavior::kIsolated));
  parts.pre_tokenizers.push_back(make_scanner_split(chosen->scanner));
  if (data.pre == "qwen2") parts.normalizers.push_back(make_unicode_form(UnicodeForm::kNfc));
  parts.bpe.byte_level = true;
  parts.bpe.ignore_merges = chosen->ignore_merges;
  DecoderStep decode;
  decode.kind = DecoderStep::Kind::kByteLevel;
  parts.decoder.push_back(std::move(decode));
  parts.kind = "byte-level BPE";
  add_ends(data, chosen->add_bos, parts);
  return parts;
}

TokenizerParts parts_of(const VocabularyData& data) {
  if (data.model == "llama") return sentencepiece_vocabulary(data);
  if (data.model == "gpt2") return byte_level_vocabulary(data);
  fail("The GGUF vocabulary's model '{}' (tokenizer.ggml.model) is not supported; known are llama and gpt2.",
       data.model);
}

// The components of a tokenizer.json.

Json byte_level_json(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json pre_tokenizer_json(const NamedPreTokenizer& named) {
  if (named.scanner == scan_gpt2 && !named.single_digits) return byte_level_json(true);
  Json first = {{"type", "Digits"}, {"individual_digits", true}};
  if (!named.single_digits)
    first = {{"type", "Split"},
             {"pattern", {{"Regex", pattern_of(named.scanner)}}},
             {"behavior", "Isolated"},
             {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {first, byte_level_json(named.single_digits)}}};
}

Json replace_json(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

void describe_sentencepiece(bool add_space, Json& json) {
  Json normalizers = Json::array(),
       decoders = {replace_json(kSpaceMark, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (add_space) {
    normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  normalizers.push_back(replace_json(" ", kSpaceMark));
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
  json["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
}

// BOS and EOS around one text, and around each of two.
Json post_processor_json(const TokenizerParts& parts) {
  if (parts.prefix.empty() && parts.suffix.empty()) return nullptr;
  Json special = Json::object(), single = Json::array(), pair = Json::array();
  const auto append = [&](const char* sequence, int type, Json& to) {
    const auto tokens = [&](const std::vector<TokenId>& ids) {
      for (const TokenId id : ids) {
        const std::string& text = parts.vocabulary.text(id);
        special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
        to.push_back({{"SpecialToken", {{"id", text}, {"type_id", type}}}});
      }
    };
    tokens(parts.prefix);
    to.push_back({{"Sequence", {{"id", sequence}, {"type_id", type}}}});
    tokens(parts.suffix);
  };
  append("A", 0, single);
  append("A", 0, pair);
  append("B", 1, pair);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

Json model_json(const TokenizerParts& parts) {
  // Tokens that are only ever found whole belong to the model where ordinary ones come behind them: elsewhere
  // `tokenizers` numbers them behind the model's.
  TokenId end = parts.vocabulary.size();
  while (end > 0 && !parts.vocabulary.is_mergeable(end - 1)) --end;
  Json vocabulary = Json::object(), merges = Json::array();
  for (TokenId id = 0; id < end; ++id) {
    const std::string& text = parts.vocabulary.text(id);
    if (!is_valid_utf8(text)) fail("The GGUF vocabulary's token {} is not UTF-8.", id);
    if (!text.empty()) vocabulary.emplace(text, id);
  }
  // As transformers converts sentencepiece models: pieces of characters that are no tokens are never put together.
  for (const Merge& merge : parts.merges)
    if (merge.left < parts.vocabulary.size() && merge.right < parts.vocabulary.size())
      merges.push_back({parts.vocabulary.text(merge.left), parts.vocabulary.text(merge.right)});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", parts.bpe.unknown < 0 ? Json(nullptr) : Json(parts.vocabulary.text(parts.bpe.unknown))},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", parts.bpe.fuse_unknown},
          {"byte_fallback", parts.bpe.byte_fallback},
          {"ignore_merges", parts.bpe.ignore_merges},
          {"vocab", vocabulary},
          {"merges", merges}};
}

Json added_tokens_json(const TokenizerParts& parts) {
  Json tokens = Json::array();
  for (const AddedToken& token : parts.added)
    tokens.push_back({{"id", token.id},
                      {"content", token.content},
                      {"single_word", token.single_word},
                      {"lstrip", token.left_strip},
                      {"rstrip", token.right_strip},
                      {"normalized", token.normalized},
                      {"special", token.special}});
  return tokens;
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const VocabularyData& data) {
  return std::make_unique<PipelineTokenizer>(parts_of(data));
}

std::string to_tokenizer_json(const VocabularyData& data) {
  const TokenizerParts parts = parts_of(data);
  Json json = {{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", added_tokens_json(parts)},
               {"normalizer", nullptr},
               {"pre_tokenizer", nullptr},
               {"post_processor", post_processor_json(parts)},
               {"decoder", byte_level_json(true)},
               {"model", model_json(parts)}};
  if (data.model == "llama") {
    describe_sentencepiece(data.add_space_prefix.value_or(true), json);
  } else {
    json["pre_tokenizer"] = pre_tokenizer_json(pre_tokenizer_of(data));
    if (data.pre == "qwen2") json["normalizer"] = {{"type", "NFC"}};
  }
  return json.dump(1) + "\n";
}

}  // namespace updraft::text
