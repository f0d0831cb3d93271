#include "text/pipeline_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

constexpr size_t kIdleWorkspaces = 16;

class StreamDecoder : public TokenDecoder {
 public:
  StreamDecoder(const PipelineTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), chain_(tokenizer.decoder_steps()), skip_special_(skip_special) {}
  void push(TokenId id, std::string& out) override {
    if (tokenizer_.is_visible(id, skip_special_)) chain_.push(tokenizer_.token(id), out);
  }
  void finish(std::string& out) override { chain_.finish(out); }

 private:
  const PipelineTokenizer& tokenizer_;
  DecoderChain chain_;
  bool skip_special_;
};

}  // namespace

// A workspace taken from the idle ones (or new), given back at the end.
class PipelineTokenizer::Lease {
 public:
  explicit Lease(const PipelineTokenizer& owner) : owner_(owner) {
    const std::lock_guard lock(owner_.mutex_);
    if (owner_.idle_.empty()) {
      workspace_ = std::make_unique<Workspace>();
    } else {
      workspace_ = std::move(owner_.idle_.back());
      owner_.idle_.pop_back();
    }
  }
  ~Lease() {
    constexpr size_t kKeptSymbols = 1 << 20;  // do not keep the memory of one huge word
    if (workspace_->bpe.symbols.capacity() > kKeptSymbols) workspace_->bpe = {};
    const std::lock_guard lock(owner_.mutex_);
    if (owner_.idle_.size() < kIdleWorkspaces) owner_.idle_.push_back(std::move(workspace_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Workspace& operator*() { return *workspace_; }

 private:
  const PipelineTokenizer& owner_;
  std::unique_ptr<Workspace> workspace_;
};

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts)
    : vocabulary_(std::move(parts.vocabulary)),
      normalizers_(std::move(parts.normalizers)),
      added_(std::move(parts.added), normalizers_),
      pre_tokenizers_(std::move(parts.pre_tokenizers)),
      bpe_(vocabulary_, parts.merges, parts.bpe, std::move(parts.pseudo_characters)),
      decoder_(std::move(parts.decoder)),
      prefix_(std::move(parts.prefix)),
      suffix_(std::move(parts.suffix)),
      bos_(parts.bos),
      eos_(parts.eos),
      split_special_(parts.split_special),
      kind_(std::move(parts.kind)),
      special_(size_t(vocabulary_.size())) {
  for (TokenId id = 0; id < size(); ++id)
    special_[size_t(id)] = added_.is_special(vocabulary_.text(id)) || added_.is_special(token(id));
  if (bpe_.never_joins(vocabulary_, kSpaceMark))
    pre_tokenizers_.push_back(make_boundary_split(std::string(kSpaceMark)));
}

std::vector<TokenId> PipelineTokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::string valid;
  if (!is_valid_utf8(text)) {
    valid = replace_invalid_utf8(text);
    text = valid;
  }
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + prefix_.size() + suffix_.size());
  if (options.add_special) out = prefix_;
  const bool parse_special = options.parse_special && !split_special_;
  Lease workspace(*this);
  added_.split_raw(
      text, parse_special,
      {[&](TokenId id) { out.push_back(id); },
       [&](std::string_view piece, bool first) { encode_piece(piece, first, parse_special, *workspace, out); }});
  if (options.add_special) out.insert(out.end(), suffix_.begin(), suffix_.end());
  return out;
}

void PipelineTokenizer::encode_piece(std::string_view piece, bool first, bool parse_special, Workspace& workspace,
                                     std::vector<TokenId>& out) const {
  std::string normalized;
  if (!normalizers_.empty()) {
    normalized = piece;
    normalize(normalizers_, normalized, first);
    piece = normalized;
  }
  added_.split_normalized(piece, first, parse_special,
                          {[&](TokenId id) { out.push_back(id); },
                           [&](std::string_view text, bool begins) { encode_words(text, begins, workspace, out); }});
}

void PipelineTokenizer::encode_words(std::string_view text, bool first, Workspace& workspace,
                                     std::vector<TokenId>& out) const {
  split(pre_tokenizers_, text, first, [&](std::string_view word, bool) {
    if (workspace.cache.find(word, out)) return;
    const size_t before = out.size();
    bpe_.encode(word, out, workspace.bpe);
    workspace.cache.insert(word, std::span(out).subspan(before));
  });
}

std::string PipelineTokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  StreamDecoder decoder(*this, skip_special);
  for (TokenId id : ids) decoder.push(id, out);
  decoder.finish(out);
  return out;
}

std::unique_ptr<TokenDecoder> PipelineTokenizer::make_decoder(bool skip_special) const {
  return std::make_unique<StreamDecoder>(*this, skip_special);
}

std::string PipelineTokenizer::token(TokenId id) const {
  if (!added_.renamed().empty()) {
    if (const auto found = added_.renamed().find(id); found != added_.renamed().end()) return found->second;
  }
  return vocabulary_.text(id);
}

std::string PipelineTokenizer::description() const {
  return fmt::format("{}, {} tokens, {}", kind_, size(), unicode_description());
}

std::string PipelineTokenizer::token_bytes(TokenId id, bool first, bool skip_special) const {
  return is_visible(id, skip_special) ? decoded_bytes(decoder_, token(id), first) : "";
}

std::vector<Merge> merges_by_score(const Vocabulary& vocabulary, const std::vector<float>& scores,
                                   const std::vector<bool>& mergeable, std::vector<std::string>& pseudo_characters) {
  std::vector<TokenId> order;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (mergeable[size_t(id)] && vocabulary.id_of(vocabulary.text(id)) == id) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return scores[size_t(a)] > scores[size_t(b)]; });

  TextMap<TokenId> pseudo;
  const auto part = [&](std::string_view text) -> TokenId {
    if (const auto id = vocabulary.id_of(text); id && mergeable[size_t(*id)]) return *id;
    if (text.size() != utf8_length(text[0])) return -1;
    const auto [place, is_new] = pseudo.emplace(text, vocabulary.size() + TokenId(pseudo_characters.size()));
    if (is_new) pseudo_characters.emplace_back(text);
    return place->second;
  };
  std::vector<Merge> merges;
  uint32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && scores[size_t(order[i])] != scores[size_t(order[i - 1])]) ++rank;
    const std::string_view text = vocabulary.text(order[i]);
    for (size_t cut = utf8_length(text[0]); cut < text.size(); cut += utf8_length(text[cut])) {
      const TokenId left = part(text.substr(0, cut)), right = part(text.substr(cut));
      if (left >= 0 && right >= 0) merges.push_back({left, right, order[i], rank});
    }
  }
  return merges;
}

DecoderSteps sentencepiece_decoder(bool strip_space) {
  using Kind = DecoderStep::Kind;
  DecoderSteps steps;
  steps.push_back({.kind = Kind::kReplaceString, .pattern = std::string(kSpaceMark), .content = " ", .regex = nullptr});
  steps.push_back({.kind = Kind::kByteFallback, .pattern = "", .content = "", .regex = nullptr});
  steps.push_back({.kind = Kind::kFuse, .pattern = "", .content = "", .regex = nullptr});
  if (strip_space) {
    steps.push_back({.kind = Kind::kStrip, .pattern = "", .content = " ", .begin = 1, .regex = nullptr});
  }
  return steps;
}

}  // namespace updraft::text
