#include "text/sentencepiece_model.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "text/normalizer.h"

namespace updraft::text {
namespace {

// Fields of one protocol buffer message, one after the other.
class Fields {
 public:
  Fields(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  bool next() {
    if (bytes_.empty()) return false;
    const uint64_t key = varint();
    number_ = key >> 3;
    switch (key & 7) {
      case 0:
        value_ = varint();
        break;
      case 1:
        value_ = fixed(8);
        break;
      case 2:
        part_ = take(varint());
        break;
      case 5:
        value_ = fixed(4);
        break;
      default:
        fail("{}: not a sentencepiece model (wire type {}).", name_, key & 7);
    }
    wire_ = int(key & 7);
    return true;
  }
  uint64_t number() const { return number_; }

  // The value of the field at hand; a field of another kind is an Error.
  std::string_view bytes() const { return expect(2), part_; }
  int64_t integer() const { return expect(0), int64_t(value_); }
  float number_f32() const { return expect(5), std::bit_cast<float>(uint32_t(value_)); }

 private:
  void expect(int wire) const {
    if (wire_ != wire) fail("{}: not a sentencepiece model (field {} has wire type {}).", name_, number_, wire_);
  }
  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) fail("{}: the sentencepiece model is cut off.", name_);
    const std::string_view part = bytes_.substr(0, size_t(size));
    bytes_.remove_prefix(size_t(size));
    return part;
  }
  uint64_t fixed(size_t size) {
    const std::string_view part = take(size);
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= uint64_t(uint8_t(part[i])) << (8 * i);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = uint8_t(take(1)[0]);
      value |= uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail("{}: not a sentencepiece model (a number has more than 64 bits).", name_);
  }

  std::string_view bytes_;
  const std::string& name_;
  uint64_t number_ = 0, value_ = 0;
  int wire_ = 0;
  std::string_view part_;
};

SentencePieceModel::Piece parse_piece(std::string_view bytes, const std::string& name) {
  SentencePieceModel::Piece piece;
  for (Fields fields(bytes, name); fields.next();) {
    if (fields.number() == 1) piece.text = fields.bytes();
    if (fields.number() == 2) piece.score = fields.number_f32();
    if (fields.number() == 3) piece.type = int(fields.integer());
  }
  return piece;
}

void parse_trainer(std::string_view bytes, const std::string& name, SentencePieceModel& model) {
  for (Fields fields(bytes, name); fields.next();) {
    if (fields.number() == 3) model.model_type = int(fields.integer());
    if (fields.number() == 24) model.whitespace_as_suffix = fields.integer() != 0;
    if (fields.number() == 35) model.byte_fallback = fields.integer() != 0;
    if (fields.number() == 41) model.bos_id = int(fields.integer());
    if (fields.number() == 42) model.eos_id = int(fields.integer());
  }
}

void parse_normalizer(std::string_view bytes, const std::string& name, SentencePieceModel& model) {
  for (Fields fields(bytes, name); fields.next();) {
    if (fields.number() == 2) model.character_map = fields.bytes();
    if (fields.number() == 3) model.add_dummy_prefix = fields.integer() != 0;
    if (fields.number() == 4) model.remove_extra_whitespaces = fields.integer() != 0;
    if (fields.number() == 5) model.escape_whitespaces = fields.integer() != 0;
  }
}

void refuse_unsupported(const SentencePieceModel& model, const std::string& name) {
  if (model.model_type != 2) {
    fail("{}: only sentencepiece models of type BPE are supported (this one has model_type {}).", name,
         model.model_type);
  }
  if (!model.character_map.empty()) fail("{}: the sentencepiece field 'precompiled_charsmap' is not supported.", name);
  if (model.remove_extra_whitespaces)
    fail("{}: the sentencepiece field 'remove_extra_whitespaces' is not supported.", name);
  if (!model.escape_whitespaces)
    fail("{}: the sentencepiece field 'escape_whitespaces: false' is not supported.", name);
  if (model.whitespace_as_suffix)
    fail("{}: the sentencepiece field 'treat_whitespace_as_suffix' is not supported.", name);
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& name) {
  SentencePieceModel model;
  for (Fields fields(bytes, name); fields.next();) {
    if (fields.number() == 1) model.pieces.push_back(parse_piece(fields.bytes(), name));
    if (fields.number() == 2) parse_trainer(fields.bytes(), name, model);
    if (fields.number() == 3) parse_normalizer(fields.bytes(), name, model);
  }
  if (model.pieces.empty()) fail("{}: not a sentencepiece model (it has no pieces).", name);
  return model;
}

TokenizerParts sentencepiece_parts(const SentencePieceModel& model, const std::string& name,
                                   bool prefix_every_stretch) {
  using Model = SentencePieceModel;
  refuse_unsupported(model, name);
  TokenizerParts parts;
  parts.kind = model.byte_fallback ? "sentencepiece BPE with byte fallback" : "sentencepiece BPE";
  parts.bpe.byte_fallback = model.byte_fallback;
  parts.bpe.fuse_unknown = true;
  std::vector<float> scores;
  std::vector<bool> mergeable;
  parts.vocabulary.reserve(model.pieces.size());
  for (const Model::Piece& piece : model.pieces) {
    const TokenId id = TokenId(scores.size());
    if (piece.text.empty()) fail("{}: piece {} is empty.", name, id);
    if (piece.type == Model::kUnused)
      fail("{}: piece {} ('{}') is of the type UNUSED, which is not supported.", name, id, piece.text);
    if (parts.vocabulary.id_of(piece.text)) fail("{}: the piece '{}' is there twice.", name, piece.text);
    if (piece.type == Model::kUnknown) parts.bpe.unknown = id;
    if (piece.type == Model::kUserDefined || piece.type == Model::kControl || piece.type == Model::kUnknown) {
      // User defined pieces are found in the normalized text, as they are. The others never are, without a
      // tokenizer_config that says so, but decode(skip_special) leaves them out.
      AddedToken token;
      token.id = id;
      token.content = piece.text;
      token.special = piece.type != Model::kUserDefined;
      token.found = token.special ? AddedToken::Found::kNever : AddedToken::Found::kAsIs;
      parts.added.push_back(token);
    }
    parts.vocabulary.add(piece.text, id);
    scores.push_back(piece.score);
    mergeable.push_back(piece.type == Model::kNormal);
  }
  parts.merges = merges_by_score(parts.vocabulary, scores, mergeable, parts.pseudo_characters);
  if (model.add_dummy_prefix) parts.normalizers.push_back(make_prepend(std::string(kSpaceMark), !prefix_every_stretch));
  parts.normalizers.push_back(make_replace(" ", std::string(kSpaceMark)));
  parts.decoder = sentencepiece_decoder(model.add_dummy_prefix);
  const auto present = [&](int id) { return id >= 0 && id < parts.vocabulary.size(); };
  if (present(model.bos_id)) parts.bos = model.bos_id;
  if (present(model.eos_id)) parts.eos = model.eos_id;
  if (parts.bos) parts.prefix.push_back(*parts.bos);  // LlamaTokenizer's defaults: add BOS, not EOS
  return parts;
}

}  // namespace updraft::text
