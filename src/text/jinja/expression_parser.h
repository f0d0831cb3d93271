// Parses expressions with the precedence of the reference, lowest first: inline if, or, and, not, comparisons, + -, ~,
// * / // %, **, unary minus, and what follows a value (attributes, items, calls, filters, tests).
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace updraft::text::jinja {

// Counts nesting while the parser recurses; fails beyond the limit.
class Nesting {
 public:
  Nesting(int& depth, const TokenStream& tokens);
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  int& depth_;
};

class ExpressionParser {
 public:
  ExpressionParser(TokenStream& tokens, Program& program);

  ExpressionPointer expression(bool with_conditional = true);
  // One expression, or a tuple when there is a comma. `end_name`: a word that ends it, like `in`.
  ExpressionPointer expression_or_tuple(bool with_conditional = true, bool in_parentheses = false,
                                        std::string_view end_name = {});
  // "| name(...) | ..." after `operand`; with `start_inline` the first name comes without a bar.
  ExpressionPointer filters(ExpressionPointer operand, bool start_inline);

  NameId name_id(const std::string& name);
  // Inside an if, an unknown filter or test is an error only when it is reached.
  void enter_conditional() { ++conditionals_; }
  void leave_conditional() { --conditionals_; }
  // The macros around the current position: they note which of their special variables the body names.
  void enter_macro(MacroDefinition* macro) { macros_.push_back(macro); }
  void leave_macro() { macros_.pop_back(); }
  int& nesting() { return nesting_; }

 private:
  ExpressionPointer conditional();
  ExpressionPointer disjunction();
  ExpressionPointer conjunction();
  ExpressionPointer negation();
  ExpressionPointer comparison();
  ExpressionPointer sum();
  ExpressionPointer concatenation();
  ExpressionPointer product();
  ExpressionPointer power();
  ExpressionPointer unary(bool with_filter);
  ExpressionPointer primary();
  ExpressionPointer name_or_constant();
  ExpressionPointer number();
  ExpressionPointer list();
  ExpressionPointer dict();
  ExpressionPointer postfix(ExpressionPointer);
  ExpressionPointer filter_expression(ExpressionPointer);
  ExpressionPointer subscript(ExpressionPointer);
  ExpressionPointer subscripted();
  ExpressionPointer call(ExpressionPointer);
  ExpressionPointer test(ExpressionPointer);
  CallArguments call_arguments(int& deepest);
  std::string dotted_name();

  template <class Node>
  ExpressionPointer make(Node node, int line, int deepest);

  TokenStream& tokens_;
  Program& program_;
  std::unordered_map<std::string, NameId> ids_;
  std::vector<MacroDefinition*> macros_;
  int nesting_ = 0;
  int conditionals_ = 0;
};

}  // namespace updraft::text::jinja
