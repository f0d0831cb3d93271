// Template source to tokens, with the whitespace rules of trim_blocks and lstrip_blocks (both on, as transformers sets
// them), `-` and `+` marks, comments and raw blocks already applied.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace updraft::text::jinja {

struct Token {
  enum class Kind {
    kData,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  // of a string: its value; of an operator: its characters
  int line = 1;
  int column = 1;
};

// Throws Error naming template, line and column.
std::vector<Token> tokenize(std::string_view source, const std::string& template_name);

[[noreturn]] void fail_at(const std::string& template_name, int line, int column, const std::string& what);

}  // namespace updraft::text::jinja
