// The parser's view of the tokens: look, expect, skip, and fail at the right place.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"

namespace updraft::text::jinja {

class TokenStream {
 public:
  TokenStream(std::vector<Token> tokens, std::string template_name)
      : tokens_(std::move(tokens)), name_(std::move(template_name)) {}

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[position_ + 1 < tokens_.size() ? position_ + 1 : position_]; }
  Token next() {
    Token token = current();
    if (position_ + 1 < tokens_.size()) ++position_;
    return token;
  }
  bool at(Token::Kind kind) const { return current().kind == kind; }
  bool at_name(std::string_view text) const { return at(Token::Kind::kName) && current().text == text; }
  bool at_operator(std::string_view text) const { return at(Token::Kind::kOperator) && current().text == text; }
  bool skip_name(std::string_view text) { return at_name(text) && (next(), true); }
  bool skip_operator(std::string_view text) { return at_operator(text) && (next(), true); }
  std::string expect_name() {
    if (!at(Token::Kind::kName)) fail_here("expected a name, got " + describe());
    return next().text;
  }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail_here("expected '" + std::string(text) + "', got " + describe());
  }
  void expect(Token::Kind kind, std::string_view text) {
    if (!at(kind)) fail_here("expected '" + std::string(text) + "', got " + describe());
    next();
  }
  std::string describe() const { return at(Token::Kind::kEnd) ? current().text : "'" + current().text + "'"; }
  int line() const { return current().line; }
  [[noreturn]] void fail_here(const std::string& what) const { fail_at(name_, current().line, current().column, what); }

 private:
  std::vector<Token> tokens_;
  std::string name_;
  size_t position_ = 0;
};

}  // namespace updraft::text::jinja
