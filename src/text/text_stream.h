// TextStream: token ids to text as they come. Never splits a code point, holds back what could still become a stop
// string, and in the end equals Tokenizer::decode of the same ids (cut before the stop string).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace updraft::text {

class TextStream {
 public:
  struct Options {
    bool skip_special = true;
    std::vector<std::string> stop;  // the text ends before the first of these
    bool include_stop = false;      // transformers' behaviour: the stop string and the rest of its token stay
  };
  TextStream(const Tokenizer&, Options);

  // Adds one token; returns the text that is certain now (may be empty). After stopped() it returns "".
  std::string push(TokenId);
  // The text still held back; call once at the end.
  std::string finish();
  bool stopped() const;                    // a stop string was found
  const std::string& stop_string() const;  // which one; empty when none

 private:
  const Tokenizer& tokenizer_;
  Options options_;
  std::string pending_;  // decided bytes that are not yet given out
  std::string stop_string_;
  bool first_ = true;
  bool stopped_ = false;
};

}  // namespace updraft::text
