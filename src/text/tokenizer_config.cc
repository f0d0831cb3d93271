#include "text/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "text/read_file.h"

namespace updraft::text {
namespace {

Json load_object(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return Json::object();
  try {
    Json value = Json::parse(read_file(path));
    if (value.is_object()) return value;
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON ({}).", path.string(), error.what());
  }
  fail("{}: not a JSON object.", path.string());
}

// A token of the configuration: its flags replace those of an added token of the same content.
void add(TokenizerParts& parts, AddedToken token) {
  if (token.content.empty()) return;
  if (const auto id = parts.vocabulary.id_of(token.content)) {
    token.id = *id;
  } else {
    if (token.id < 0 || !parts.vocabulary.text(token.id).empty()) token.id = parts.vocabulary.size();
    parts.vocabulary.add(token.content, token.id, false);
  }
  const auto known = std::find_if(parts.added.begin(), parts.added.end(),
                                  [&](const AddedToken& other) { return other.content == token.content; });
  if (known == parts.added.end()) {
    parts.added.push_back(std::move(token));
  } else {
    *known = std::move(token);
  }
}

AddedToken read_added_token(const Json& json, TokenId id, const std::string& file) {
  AddedToken token;
  token.id = id;
  token.content = field_or<std::string>(json, "content", "", file);
  token.special = field_or(json, "special", false, file);
  token.normalized = field_or(json, "normalized", !token.special, file);
  token.single_word = field_or(json, "single_word", false, file);
  token.left_strip = field_or(json, "lstrip", false, file);
  token.right_strip = field_or(json, "rstrip", false, file);
  return token;
}

void add_configured_tokens(const TokenizerConfig& config, const std::string& file, TokenizerParts& parts) {
  std::vector<AddedToken> tokens;
  const Json& decoder = field(config.config, "added_tokens_decoder");
  if (!decoder.is_null() && !decoder.is_object()) fail("{}: 'added_tokens_decoder' is not an object.", file);
  for (const auto& [key, value] : decoder.items()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      fail("{}: 'added_tokens_decoder' has the key '{}', which is not a token id.", file, key);
    }
    tokens.push_back(read_added_token(value, id, file));
  }
  for (const auto& item : config.added_tokens.items()) {
    const std::string& content = item.key();
    const Json& id = item.value();
    if (!id.is_number_integer())
      fail("{}: the id of '{}' is not an integer.", (config.folder / "added_tokens.json").string(), content);
    const bool known =
        std::any_of(tokens.begin(), tokens.end(), [&](const AddedToken& t) { return t.content == content; });
    AddedToken token;
    token.id = TokenId(std::clamp<int64_t>(id.get<int64_t>(), -1, INT32_MAX));
    token.content = content;
    token.normalized = true;
    if (!known) tokens.push_back(std::move(token));
  }
  std::sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (AddedToken& token : tokens) add(parts, std::move(token));
}

// bos_token and its kind are special tokens even where nothing lists them as added.
void add_named_tokens(const TokenizerConfig& config, TokenizerParts& parts) {
  std::vector<std::string> names;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    names.push_back(config.special_token(key));
  }
  for (const Json* source : config.naming_files()) {  // "image_token" and the like, of models of their own
    for (const auto& item : source->items()) {
      if (item.key().ends_with("_token")) names.push_back(config.special_token(item.key().c_str()));
    }
  }
  for (const Json* source : config.naming_files()) {
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json& tokens = field(*source, key);
      if (!tokens.is_structured()) continue;
      for (const Json& token : tokens) {  // of {"image_token": "<image>"} as of ["<image>"]
        names.push_back(token.is_string() ? token.get<std::string>()
                                          : field_or<std::string>(token, "content", "", key));
      }
    }
  }
  for (const std::string& name : names) {
    const bool known =
        std::any_of(parts.added.begin(), parts.added.end(), [&](const AddedToken& t) { return t.content == name; });
    AddedToken token;
    token.id = -1;
    token.content = name;
    token.special = true;
    if (!known) add(parts, std::move(token));
  }
}

}  // namespace

std::vector<const Json*> TokenizerConfig::naming_files() const {
  if (config.contains("added_tokens_decoder")) return {&config};
  return {&special_tokens, &config};
}

std::string TokenizerConfig::special_token(const char* key) const {
  for (const Json* source : naming_files()) {
    const Json& value = field(*source, key);
    if (value.is_string()) return value.get<std::string>();
    if (field(value, "content").is_string()) return field(value, "content").get<std::string>();
  }
  return "";
}

TokenizerConfig load_tokenizer_config(const std::filesystem::path& folder) {
  return {folder, load_object(folder / "tokenizer_config.json"), load_object(folder / "special_tokens_map.json"),
          load_object(folder / "added_tokens.json")};
}

void apply(const TokenizerConfig& config, VocabularyFile from, TokenizerParts& parts) {
  if (config.empty()) return;
  const std::string file = (config.folder / "tokenizer_config.json").string();
  add_configured_tokens(config, file, parts);
  add_named_tokens(config, parts);
  parts.split_special = field_or(config.config, "split_special_tokens", false, file);

  const std::string bos = config.special_token("bos_token"), eos = config.special_token("eos_token");
  if (!bos.empty()) parts.bos = parts.vocabulary.id_of(bos);
  if (!eos.empty()) parts.eos = parts.vocabulary.id_of(eos);
  std::string tokenizer_class = field_or<std::string>(config.config, "tokenizer_class", "", file);
  if (tokenizer_class.ends_with("Fast")) tokenizer_class.resize(tokenizer_class.size() - 4);
  const bool llama = tokenizer_class == "LlamaTokenizer" || tokenizer_class == "CodeLlamaTokenizer";
  const bool written = config.config.contains("add_bos_token") || config.config.contains("add_eos_token");
  const bool rebuilt = from == VocabularyFile::kTokenizerJson ? llama && !parts.bpe.byte_level : llama || written;
  if (!rebuilt) return;
  parts.prefix.clear();
  parts.suffix.clear();
  if (field_or(config.config, "add_bos_token", llama, file) && parts.bos) parts.prefix.push_back(*parts.bos);
  if (field_or(config.config, "add_eos_token", false, file) && parts.eos) parts.suffix.push_back(*parts.eos);
}

}  // namespace updraft::text
