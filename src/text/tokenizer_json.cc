#include "text/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

constexpr int kDeepestSequence = 32;

// Reads one file into `parts`.
class Reader {
 public:
  Reader(std::string name, TokenizerParts& parts) : name_(std::move(name)), parts_(parts) {}

  void read(const Json& root) {
    if (!root.is_object()) fail("{}: not a JSON object.", name_);
    read_model(field(root, "model"));
    read_added_tokens(field(root, "added_tokens"));
    read_normalizer(field(root, "normalizer"), 0);
    read_pre_tokenizer(field(root, "pre_tokenizer"), 0);
    read_decoder(field(root, "decoder"), 0);
    if (field(root, "decoder").is_null()) parts_.decoder.push_back(step(DecoderStep::Kind::kJoin, "", " "));
    read_post_processor(field(root, "post_processor"), 0);
    parts_.bpe.byte_level = byte_level_;
    parts_.kind = byte_level_ ? "byte-level BPE" : parts_.bpe.byte_fallback ? "BPE with byte fallback" : "BPE";
    if (regular_expressions_) parts_.kind += ", regular expressions of its own by " + Regex::description();
  }

 private:
  std::string text(const Json& object, const char* key, std::string fallback = "") const {
    return field_or(object, key, std::move(fallback), name_);
  }
  bool flag(const Json& object, const char* key, bool fallback) const { return field_or(object, key, fallback, name_); }

  // The component's type; "" for null.
  std::string type_of(const Json& component, const char* what, int depth) const {
    if (component.is_null()) return "";
    if (!component.is_object()) fail("{}: the {} is not an object.", name_, what);
    if (depth > kDeepestSequence) fail("{}: the {} is nested more than {} deep.", name_, what, kDeepestSequence);
    std::string type = text(component, "type");
    if (type.empty()) fail("{}: a {} has no type.", name_, what);
    return type;
  }
  [[noreturn]] void unsupported(const char* what, const std::string& type) const {
    throw UnsupportedComponent(fmt::format("{}: the {} '{}' is not supported", name_, what, type));
  }
  // A pattern without a scanner of its own.
  Regex regex(const std::string& pattern) {
    regular_expressions_ = true;
    try {
      return Regex(pattern);
    } catch (const Error& error) {
      throw UnsupportedComponent(fmt::format("{}: {}", name_, error.what()));
    }
  }
  const Json& array(const Json& object, const char* key) const {
    const Json& value = field(object, key);
    if (!value.is_array()) fail("{}: the field '{}' is not an array.", name_, key);
    return value;
  }
  static DecoderStep step(DecoderStep::Kind kind, std::string pattern = "", std::string content = "") {
    DecoderStep result;
    result.kind = kind;
    result.pattern = std::move(pattern);
    result.content = std::move(content);
    return result;
  }

  void read_model(const Json& model);
  void read_merges(const Json& merges);
  void read_added_tokens(const Json& tokens);
  void read_normalizer(const Json& normalizer, int depth);
  void read_pre_tokenizer(const Json& pre_tokenizer, int depth);
  void read_split(const Json& split);
  void read_byte_level(const Json& component);
  void read_metaspace(const Json& component);
  PrependScheme prepend_scheme(const Json& component) const;
  SplitBehavior behavior(const Json& component, const char* fallback) const;
  std::string pattern(const Json& component, bool& is_regex) const;
  void read_decoder(const Json& decoder, int depth);
  void read_post_processor(const Json& processor, int depth);
  void read_template(const Json& processor);
  TokenId pair_token(const Json& processor, const char* key) const;

  std::string name_;
  TokenizerParts& parts_;
  bool byte_level_ = false;
  bool regular_expressions_ = false;
};

void Reader::read_model(const Json& model) {
  const std::string type =
      model.is_object() && !model.contains("type") && model.contains("merges") ? "BPE" : type_of(model, "model", 0);
  if (type.empty()) fail("{}: there is no 'model'; fetch the file again.", name_);
  if (type != "BPE") unsupported("model", type);
  if (!text(model, "continuing_subword_prefix").empty()) unsupported("model setting", "continuing_subword_prefix");
  if (!text(model, "end_of_word_suffix").empty()) unsupported("model setting", "end_of_word_suffix");
  const Json& dropout = field(model, "dropout");
  if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0))
    unsupported("model setting", "dropout");
  const Json& vocabulary = field(model, "vocab");
  if (!vocabulary.is_object()) fail("{}: the model has no 'vocab' object.", name_);
  parts_.vocabulary.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_integer()) fail("{}: the id of the token '{}' is not an integer.", name_, token);
    parts_.vocabulary.add(token, TokenId(std::clamp<int64_t>(id.get<int64_t>(), -1, INT32_MAX)));
  }
  parts_.bpe.byte_fallback = flag(model, "byte_fallback", false);
  parts_.bpe.fuse_unknown = flag(model, "fuse_unk", false);
  parts_.bpe.ignore_merges = flag(model, "ignore_merges", false);
  const std::string unknown = text(model, "unk_token");
  if (!unknown.empty()) {
    const auto id = parts_.vocabulary.id_of(unknown);
    if (!id) fail("{}: the unk_token '{}' is not in the vocabulary.", name_, unknown);
    parts_.bpe.unknown = *id;
  }
  read_merges(array(model, "merges"));
}

void Reader::read_merges(const Json& merges) {
  const auto id_of = [&](std::string_view token, size_t line) {
    const auto id = parts_.vocabulary.id_of(token);
    if (!id) fail("{}: merge {} names '{}', which is not in the vocabulary.", name_, line, token);
    return *id;
  };
  parts_.merges.reserve(merges.size());
  std::string joined;
  for (const Json& merge : merges) {
    const size_t line = parts_.merges.size();
    std::string_view left, right;
    if (merge.is_string()) {
      const std::string_view both = merge.get_ref<const std::string&>();
      if (line == 0 && both.starts_with("#version")) continue;
      const size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) {
        fail("{}: merge {} is not two tokens with one space between.", name_, line);
      }
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      fail("{}: merge {} is neither a string nor a pair of strings.", name_, line);
    }
    joined.assign(left).append(right);
    parts_.merges.push_back({id_of(left, line), id_of(right, line), id_of(joined, line), uint32_t(line)});
  }
}

void Reader::read_added_tokens(const Json& tokens) {
  if (tokens.is_null()) return;
  if (!tokens.is_array()) fail("{}: 'added_tokens' is not an array.", name_);
  for (const Json& token : tokens) {
    AddedToken added;
    added.content = text(token, "content");
    if (added.content.empty()) continue;
    added.id = field_or<TokenId>(token, "id", -1, name_);
    added.special = flag(token, "special", false);
    added.normalized = flag(token, "normalized", !added.special);
    added.single_word = flag(token, "single_word", false);
    added.left_strip = flag(token, "lstrip", false);
    added.right_strip = flag(token, "rstrip", false);
    if (const auto id = parts_.vocabulary.id_of(added.content)) {
      added.id = *id;
    } else {
      parts_.vocabulary.add(added.content, added.id, false);
    }
    parts_.added.push_back(std::move(added));
  }
}

std::string Reader::pattern(const Json& component, bool& is_regex) const {
  const Json& value = field(component, "pattern");
  is_regex = value.is_object() && value.contains("Regex");
  std::string result = text(value, is_regex ? "Regex" : "String");
  if (result.empty()) fail("{}: a {} has no pattern (String or Regex).", name_, text(component, "type"));
  return result;
}

void Reader::read_normalizer(const Json& normalizer, int depth) {
  const std::string type = type_of(normalizer, "normalizer", depth);
  auto& out = parts_.normalizers;
  if (type.empty()) return;
  if (type == "Sequence") {
    for (const Json& part : array(normalizer, "normalizers")) read_normalizer(part, depth + 1);
  } else if (type == "Prepend") {
    out.push_back(make_prepend(text(normalizer, "prepend"), false));
  } else if (type == "Replace") {
    bool is_regex = false;
    std::string wanted = pattern(normalizer, is_regex), content = text(normalizer, "content");
    out.push_back(is_regex ? make_replace(regex(wanted), std::move(content))
                           : make_replace(std::move(wanted), std::move(content)));
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    out.push_back(make_unicode_form(type == "NFC"    ? UnicodeForm::kNfc
                                    : type == "NFD"  ? UnicodeForm::kNfd
                                    : type == "NFKC" ? UnicodeForm::kNfkc
                                                     : UnicodeForm::kNfkd));
  } else if (type == "Strip") {
    out.push_back(make_strip(flag(normalizer, "strip_left", true), flag(normalizer, "strip_right", true)));
  } else if (type == "Lowercase") {
    out.push_back(make_lower_case());
  } else {
    unsupported("normalizer", type);
  }
}

SplitBehavior Reader::behavior(const Json& component, const char* fallback) const {
  const std::string value = text(component, "behavior", fallback);
  if (value == "Removed") return SplitBehavior::kRemoved;
  if (value == "Isolated") return SplitBehavior::kIsolated;
  if (value == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (value == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (value == "Contiguous") return SplitBehavior::kContiguous;
  unsupported("split behavior", value);
}

void Reader::read_split(const Json& split) {
  bool is_regex = false;
  const std::string wanted = pattern(split, is_regex);
  const SplitBehavior what = behavior(split, "Isolated");
  const bool invert = flag(split, "invert", false);
  const Scanner scanner = is_regex ? scanner_of(wanted) : nullptr;
  // A known pattern covers the whole text, so inverted and removed it keeps exactly its matches too.
  const bool keeps_matches =
      (what == SplitBehavior::kIsolated && !invert) || (what == SplitBehavior::kRemoved && invert);
  auto& out = parts_.pre_tokenizers;
  if (scanner != nullptr && keeps_matches) {
    out.push_back(make_scanner_split(scanner));
  } else if (is_regex) {
    out.push_back(make_regex_split(regex(wanted), what, invert));
  } else {
    out.push_back(make_string_split(wanted, what, invert));
  }
}

void Reader::read_byte_level(const Json& component) {
  if (flag(component, "add_prefix_space", true)) parts_.pre_tokenizers.push_back(make_prefix_space());
  if (flag(component, "use_regex", true)) parts_.pre_tokenizers.push_back(make_scanner_split(scan_gpt2));
  byte_level_ = true;
}

PrependScheme Reader::prepend_scheme(const Json& component) const {
  const std::string scheme = text(component, "prepend_scheme");
  if (scheme.empty()) return flag(component, "add_prefix_space", true) ? PrependScheme::kAlways : PrependScheme::kNever;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "never") return PrependScheme::kNever;
  unsupported("prepend_scheme", scheme);
}

void Reader::read_metaspace(const Json& component) {
  parts_.pre_tokenizers.push_back(make_metaspace(text(component, "replacement", std::string(kSpaceMark)),
                                                 prepend_scheme(component), flag(component, "split", true)));
}

void Reader::read_pre_tokenizer(const Json& pre_tokenizer, int depth) {
  const std::string type = type_of(pre_tokenizer, "pre_tokenizer", depth);
  auto& out = parts_.pre_tokenizers;
  if (type.empty()) return;
  if (byte_level_) fail("{}: the pre_tokenizer '{}' behind 'ByteLevel' is not supported.", name_, type);
  if (type == "Sequence") {
    for (const Json& part : array(pre_tokenizer, "pretokenizers")) read_pre_tokenizer(part, depth + 1);
  } else if (type == "Split") {
    read_split(pre_tokenizer);
  } else if (type == "ByteLevel") {
    read_byte_level(pre_tokenizer);
  } else if (type == "Metaspace") {
    read_metaspace(pre_tokenizer);
  } else if (type == "Digits") {
    const bool each = flag(pre_tokenizer, "individual_digits", false);
    out.push_back(make_class_split(kNumericBit, each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (type == "Punctuation") {
    out.push_back(make_class_split(kPunctuationBit, behavior(pre_tokenizer, "Isolated")));
  } else if (type == "Whitespace") {
    out.push_back(make_word_split());
  } else if (type == "WhitespaceSplit") {
    out.push_back(make_space_split());
  } else {
    unsupported("pre_tokenizer", type);
  }
}

void Reader::read_decoder(const Json& decoder, int depth) {
  using Kind = DecoderStep::Kind;
  const std::string type = type_of(decoder, "decoder", depth);
  auto& out = parts_.decoder;
  if (type.empty()) return;
  if (type == "Sequence") {
    for (const Json& part : array(decoder, "decoders")) read_decoder(part, depth + 1);
  } else if (type == "ByteLevel") {
    out.push_back(step(Kind::kByteLevel));
  } else if (type == "Metaspace") {
    out.push_back(step(Kind::kMetaspace, text(decoder, "replacement", std::string(kSpaceMark))));
    out.back().prepended = prepend_scheme(decoder) != PrependScheme::kNever;
  } else if (type == "Replace") {
    bool is_regex = false;
    const std::string wanted = pattern(decoder, is_regex);
    out.push_back(step(is_regex ? Kind::kReplaceRegex : Kind::kReplaceString, wanted, text(decoder, "content")));
    if (is_regex) out.back().regex = std::make_shared<Regex>(regex(wanted));
  } else if (type == "ByteFallback") {
    out.push_back(step(Kind::kByteFallback));
  } else if (type == "Fuse") {
    out.push_back(step(Kind::kFuse));
  } else if (type == "Strip") {
    out.push_back(step(Kind::kStrip, "", text(decoder, "content", " ")));
    out.back().begin = field_or<int>(decoder, "start", 0, name_);
    out.back().end = field_or<int>(decoder, "stop", 0, name_);
  } else {
    unsupported("decoder", type);
  }
}

// Roberta's and Bert's processors name their tokens as ["<s>", 0].
TokenId Reader::pair_token(const Json& processor, const char* key) const {
  const Json& pair = field(processor, key);
  if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer())
    fail("{}: the post_processor's '{}' is not [token, id].", name_, key);
  return TokenId(std::clamp<int64_t>(pair[1].get<int64_t>(), 0, INT32_MAX));
}

void Reader::read_post_processor(const Json& processor, int depth) {
  const std::string type = type_of(processor, "post_processor", depth);
  if (type.empty() || type == "ByteLevel") return;  // ByteLevel only changes offsets
  if (type == "Sequence") {
    for (const Json& part : array(processor, "processors")) read_post_processor(part, depth + 1);
  } else if (type == "TemplateProcessing") {
    read_template(processor);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    parts_.prefix.insert(parts_.prefix.begin(), pair_token(processor, "cls"));
    parts_.suffix.push_back(pair_token(processor, "sep"));
  } else {
    unsupported("post_processor", type);
  }
}

void Reader::read_template(const Json& processor) {
  std::vector<TokenId> before, behind;
  bool text_seen = false;
  for (const Json& piece : array(processor, "single")) {
    if (piece.contains("Sequence")) {
      if (text_seen || text(field(piece, "Sequence"), "id") != "A")
        fail("{}: the template of one text must have $A once.", name_);
      text_seen = true;
      continue;
    }
    const std::string token = text(field(piece, "SpecialToken"), "id");
    const Json& ids = field(field(field(processor, "special_tokens"), token.c_str()), "ids");
    if (!ids.is_array()) fail("{}: the template's token '{}' has no ids.", name_, token);
    for (const Json& id : ids) {
      if (!id.is_number_integer()) fail("{}: an id of the template's token '{}' is not an integer.", name_, token);
      (text_seen ? behind : before).push_back(TokenId(std::clamp<int64_t>(id.get<int64_t>(), 0, INT32_MAX)));
    }
  }
  if (!text_seen) fail("{}: the template of one text has no $A.", name_);
  parts_.prefix.insert(parts_.prefix.begin(), before.begin(), before.end());
  parts_.suffix.insert(parts_.suffix.end(), behind.begin(), behind.end());
}

}  // namespace

TokenizerParts parse_tokenizer_json(std::string_view json, const std::string& name) {
  TokenizerParts parts;
  Json root;
  try {
    root = Json::parse(json);
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON ({}).", name, error.what());
  }
  Reader(name, parts).read(root);
  return parts;
}

}  // namespace updraft::text
