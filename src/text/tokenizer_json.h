// tokenizer.json, the format of Hugging Face `tokenizers`: read into the parts of a tokenizer. A component or setting
// that would change the result and is not supported is refused by name. Source: huggingface/tokenizers (versions 0.13
// to 0.23).
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "text/pipeline_tokenizer.h"

namespace updraft::text {

// The file is in order, but it needs something that is not built here.
class UnsupportedComponent : public Error {
 public:
  using Error::Error;
};

// `name` is for messages: the file. Throws Error.
TokenizerParts parse_tokenizer_json(std::string_view json, const std::string& name);

}  // namespace updraft::text
