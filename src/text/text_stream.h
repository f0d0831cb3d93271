// TextStream: token ids to text as they come. Never splits a code point, holds back what could still become a stop
// string, and in the end equals Tokenizer::decode of the same ids (cut before the stop string).
#pragma once

#include <memory>
#include <string>
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
  TextStream(const Tokenizer&, Options);  // borrows the tokenizer; of several stop strings the one that is complete
                                          // first counts, then the longest

  // Adds one token; returns the text that is certain now (may be empty). After stopped() it returns "".
  std::string push(TokenId);
  // The text still held back; call once at the end.
  std::string finish();
  bool stopped() const;                    // a stop string was found
  const std::string& stop_string() const;  // which one; empty when none

 private:
  std::string release(bool finished);  // looks for stop strings in pending_ and gives out what cannot be part of one

  Options options_;
  std::unique_ptr<TokenDecoder> decoder_;
  std::string pending_;  // decoded text that is not yet given out
  std::string stop_string_;
  size_t searched_ = 0;  // no stop string ends before this place of pending_
  bool stopped_ = false;
};

}  // namespace updraft::text
