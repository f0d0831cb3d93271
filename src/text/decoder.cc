#include "text/decoder.h"

#include <algorithm>
#include <utility>

#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace updraft::text {
namespace {

// A stage that hands on to `next`.
class Stage : public DecoderStage {
 public:
  explicit Stage(DecoderStage& next) : next_(next) {}
  void finish() override { next_.finish(); }

 protected:
  DecoderStage& next_;
};

class Collect : public DecoderStage {
 public:
  explicit Collect(std::string& text) : text_(text) {}
  void push(std::string&& token) override { text_ += token; }
  void finish() override {}

 private:
  std::string& text_;
};

std::string own_or_mapped_bytes(std::string_view token) {
  auto bytes = byte_level_bytes(token);
  return bytes ? std::move(*bytes) : std::string(token);
}

class ByteLevel : public Stage {
 public:
  using Stage::Stage;
  void push(std::string&& token) override {
    std::string text;
    utf8_.push(own_or_mapped_bytes(token), text);
    if (!text.empty()) next_.push(std::move(text));
  }
  void finish() override {
    std::string text;
    utf8_.finish(text);
    if (!text.empty()) next_.push(std::move(text));
    next_.finish();
  }

 private:
  Utf8Decoder utf8_;
};

void decode_marks(std::string& token, const DecoderStep& step, bool first) {
  replace_all(token, step.pattern, first && step.prepended ? "" : " ");
}

class Metaspace : public Stage {
 public:
  Metaspace(DecoderStage& next, const DecoderStep& step, bool fused) : Stage(next), step_(step), fused_(fused) {}
  void push(std::string&& token) override {
    decode_marks(token, step_, first_ || fused_);
    first_ = false;
    next_.push(std::move(token));
  }

 private:
  const DecoderStep& step_;
  bool fused_, first_ = true;
};

void replace(std::string& text, const DecoderStep& step) {
  if (step.regex) {
    replace_all(text, *step.regex, step.content);
  } else {
    replace_all(text, step.pattern, step.content);
  }
}

class Replace : public Stage {
 public:
  Replace(DecoderStage& next, const DecoderStep& step) : Stage(next), step_(step) {}
  void push(std::string&& token) override {
    replace(token, step_);
    next_.push(std::move(token));
  }

 private:
  const DecoderStep& step_;
};

// A step over the whole text that a stream cannot do piece by piece.
template <class Change>
class ChangeWhole : public Stage {
 public:
  ChangeWhole(DecoderStage& next, Change change) : Stage(next), change_(change) {}
  void push(std::string&& token) override { text_ += token; }
  void finish() override {
    change_(text_);
    next_.push(std::move(text_));
    next_.finish();
  }

 private:
  Change change_;
  std::string text_;
};

class ByteFallback : public Stage {
 public:
  using Stage::Stage;
  void push(std::string&& token) override {
    if (const auto byte = byte_fallback_value(token)) {
      bytes_ += char(*byte);
      return;
    }
    flush();
    next_.push(std::move(token));
  }
  void finish() override {
    flush();
    next_.finish();
  }

 private:
  // A run of byte tokens is a text as a whole or not at all: then each of its bytes becomes U+FFFD. So no part of a run
  // is certain before the run ends.
  void flush() {
    if (is_valid_utf8(bytes_)) {
      if (!bytes_.empty()) next_.push(std::move(bytes_));
    } else {
      for (size_t i = 0; i < bytes_.size(); ++i) next_.push("\uFFFD");
    }
    bytes_.clear();
  }

  std::string bytes_;
};

void strip_token(std::string& token, const DecoderStep& step) {
  const size_t width = step.content.size();
  if (width == 0) return;
  size_t begin = 0, end = token.size();
  for (int i = 0; i < step.begin && std::string_view(token).substr(begin).starts_with(step.content); ++i)
    begin += width;
  for (int i = 0; i < step.end && end >= begin + width && token.compare(end - width, width, step.content) == 0; ++i)
    end -= width;
  token = token.substr(begin, end - begin);
}

class StripToken : public Stage {
 public:
  StripToken(DecoderStage& next, const DecoderStep& step) : Stage(next), step_(step) {}
  void push(std::string&& token) override {
    strip_token(token, step_);
    next_.push(std::move(token));
  }

 private:
  const DecoderStep& step_;
};

// Strip of the one text that earlier steps have joined: the beginning at once, the end held back while it may be the
// end.
class StripText : public Stage {
 public:
  StripText(DecoderStage& next, const DecoderStep& step) : Stage(next), step_(step), to_strip_(step.begin) {}
  void push(std::string&& token) override {
    held_ += token;
    const size_t width = step_.content.size();
    while (to_strip_ > 0 && !held_.empty()) {
      if (width == 0 || !held_.starts_with(step_.content)) {
        to_strip_ = 0;
        break;
      }
      held_.erase(0, width);
      --to_strip_;
    }
    size_t end = held_.size();
    while (width > 0 && step_.end > 0 && end >= width && held_.compare(end - width, width, step_.content) == 0)
      end -= width;
    if (end == 0) return;
    next_.push(held_.substr(0, end));
    held_.erase(0, end);
  }
  void finish() override {
    const size_t width = step_.content.size();
    for (int i = 0; i < step_.end && width > 0 && held_.ends_with(step_.content); ++i)
      held_.resize(held_.size() - width);
    if (!held_.empty()) next_.push(std::move(held_));
    next_.finish();
  }

 private:
  const DecoderStep& step_;
  int to_strip_;
  std::string held_;  // nothing but the character to strip, between two calls
};

class Join : public Stage {
 public:
  Join(DecoderStage& next, const DecoderStep& step) : Stage(next), step_(step) {}
  void push(std::string&& token) override {
    if (!first_) token.insert(0, step_.content);
    first_ = false;
    next_.push(std::move(token));
  }

 private:
  const DecoderStep& step_;
  bool first_ = true;
};

template <class Change>
std::unique_ptr<DecoderStage> change_whole(DecoderStage& next, Change change) {
  return std::make_unique<ChangeWhole<Change>>(next, change);
}

// `fused`: an earlier step has made one text of the tokens.
std::unique_ptr<DecoderStage> make_stage(const DecoderStep& step, DecoderStage& next, bool fused) {
  using Kind = DecoderStep::Kind;
  switch (step.kind) {
    case Kind::kByteLevel:
      if (!fused) return std::make_unique<ByteLevel>(next);
      return change_whole(next, [](std::string& text) { text = replace_invalid_utf8(own_or_mapped_bytes(text)); });
    case Kind::kMetaspace:
      return std::make_unique<Metaspace>(next, step, fused);
    case Kind::kReplaceString:
    case Kind::kReplaceRegex:
      if (!fused) return std::make_unique<Replace>(next, step);
      return change_whole(next, [&step](std::string& text) { replace(text, step); });
    case Kind::kStrip:
      if (fused) return std::make_unique<StripText>(next, step);
      return std::make_unique<StripToken>(next, step);
    case Kind::kByteFallback:
      if (!fused) return std::make_unique<ByteFallback>(next);
      return change_whole(next, [](std::string& text) {
        const auto byte = byte_fallback_value(text);
        if (byte) text = *byte < 0x80 ? std::string(1, char(*byte)) : "\uFFFD";
      });
    case Kind::kJoin:
      return std::make_unique<Join>(next, step);
    case Kind::kFuse:
      break;
  }
  return nullptr;
}

bool fuses(const DecoderStep& step) {
  return step.kind == DecoderStep::Kind::kFuse || step.kind == DecoderStep::Kind::kByteLevel;
}

}  // namespace

DecoderChain::DecoderChain(const DecoderSteps& steps) {
  stages_.push_back(std::make_unique<Collect>(text_));
  for (size_t i = steps.size(); i-- > 0;) {
    const bool fused = std::any_of(steps.begin(), steps.begin() + ptrdiff_t(i), fuses);
    if (auto stage = make_stage(steps[i], *stages_.back(), fused)) stages_.push_back(std::move(stage));
  }
}

void DecoderChain::push(std::string token, std::string& out) {
  stages_.back()->push(std::move(token));
  out += text_;
  text_.clear();
}

void DecoderChain::finish(std::string& out) {
  stages_.back()->finish();
  out += text_;
  text_.clear();
}

std::string decoded_bytes(const DecoderSteps& steps, std::string token, bool first) {
  using Kind = DecoderStep::Kind;
  bool fused = false;
  for (const DecoderStep& step : steps) {
    switch (step.kind) {
      case Kind::kByteLevel:
        token = own_or_mapped_bytes(token);
        break;
      case Kind::kMetaspace:
        decode_marks(token, step, first);
        break;
      case Kind::kReplaceString:
      case Kind::kReplaceRegex:
        replace(token, step);
        break;
      case Kind::kByteFallback:
        if (const auto byte = byte_fallback_value(token)) token = std::string(1, char(*byte));
        break;
      case Kind::kStrip:
        if (!fused) {
          strip_token(token, step);
        } else if (first) {
          DecoderStep beginning = step;
          beginning.end = 0;
          strip_token(token, beginning);
        }
        break;
      case Kind::kJoin:
        if (!first) token.insert(0, step.content);
        break;
      case Kind::kFuse:
        break;
    }
    fused = fused || fuses(step);
  }
  return token;
}

}  // namespace updraft::text
