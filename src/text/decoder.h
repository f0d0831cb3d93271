// Decoders: token texts to text. A tokenizer.json names a chain of steps; the chain runs as a stream, so that the batch
// decode and the streamed one are the same code. What comes out is whole UTF-8 characters, as soon as no later token
// can change them. Source: huggingface/tokenizers, decoders.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace updraft::text {

struct DecoderStep {
  enum class Kind { kByteLevel, kMetaspace, kReplaceString, kReplaceRegex, kFuse, kStrip, kByteFallback, kJoin };
  Kind kind;
  std::string pattern,
      content;             // Replace; Metaspace: pattern is the mark; Strip: content is the character; Join: content
  int begin = 0, end = 0;  // Strip: how many at either end
  bool prepended = true;   // Metaspace: marks of the first token vanish
  std::shared_ptr<const Regex> regex;
};
using DecoderSteps = std::vector<DecoderStep>;

// One step at work: takes tokens (after a step that joins all: parts of the one text), gives tokens to the next.
class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  virtual void push(std::string&& token) = 0;
  virtual void finish() = 0;  // no more tokens; passes it on
};

// The chain at work. Borrows the steps.
class DecoderChain {
 public:
  explicit DecoderChain(const DecoderSteps&);
  // Appends to `out` what is certain.
  void push(std::string token, std::string& out);
  void finish(std::string& out);

 private:
  std::vector<std::unique_ptr<DecoderStage>> stages_;  // the last one first: each borrows the one before it
  std::string text_;
};

// What one token adds in the middle of a text (or at its beginning), as bytes that need not be whole characters.
std::string decoded_bytes(const DecoderSteps&, std::string token, bool first);

}  // namespace updraft::text
