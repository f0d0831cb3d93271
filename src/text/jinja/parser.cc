#include "text/jinja/parser.h"

#include <array>
#include <functional>
#include <initializer_list>

#include "text/jinja/expression_parser.h"
#include "text/jinja/limits.h"

namespace updraft::text::jinja {
namespace {

using Kind = Token::Kind;
using Names = std::initializer_list<std::string_view>;

class StatementParser {
 public:
  StatementParser(TokenStream& tokens, Program& program) : tokens_(tokens), expressions_(tokens, program) {}

  Body whole() {
    Body body = statements({});
    if (!tokens_.at(Kind::kEnd)) tokens_.fail_here("unexpected " + tokens_.describe());
    return body;
  }

 private:
  // Statements up to a block that begins with one of `ends`, which stays the current token.
  Body statements(Names ends) {
    Nesting nesting(expressions_.nesting(), tokens_);
    Body body;
    while (!tokens_.at(Kind::kEnd)) {
      int line = tokens_.line();
      if (tokens_.at(Kind::kData)) {
        body.push_back({TextStatement{tokens_.next().text}, line});
      } else if (tokens_.at(Kind::kVariableBegin)) {
        tokens_.next();
        body.push_back({OutputStatement{expressions_.expression_or_tuple()}, line});
        tokens_.expect(Kind::kVariableEnd, "}}");
      } else {
        tokens_.expect(Kind::kBlockBegin, "{%");
        for (std::string_view end : ends) {
          if (tokens_.at_name(end)) return body;
        }
        body.push_back(statement());
        tokens_.expect(Kind::kBlockEnd, "%}");
      }
    }
    if (ends.size() > 0) tokens_.fail_here("'{% " + std::string(*(ends.end() - 1)) + " %}' is missing");
    return body;
  }

  // The body of the block whose tag ends here, up to {% end %}; leaves its closing "%}" to the caller.
  Body block(std::string_view end) {
    tokens_.expect(Kind::kBlockEnd, "%}");
    Body body = statements({end});
    tokens_.next();
    return body;
  }

  Statement statement() {
    int line = tokens_.line();
    if (!tokens_.at(Kind::kName)) tokens_.fail_here("expected the name of a statement, got " + tokens_.describe());
    std::string word = tokens_.current().text;
    if (word == "if") return {if_statement(), line};
    if (word == "for") return {for_statement(), line};
    if (word == "set") return set_statement();
    if (word == "macro") return {macro_statement(), line};
    if (word == "call") return {call_statement(), line};
    if (word == "filter") return {filter_statement(), line};
    if (word == "with") return {with_statement(), line};
    if (word == "generation" || word == "print" || word == "break" || word == "continue") {
      tokens_.next();
      if (word == "generation") return {WithStatement{{}, block("endgeneration")}, line};
      if (word == "print") return {print_statement(line), line};
      return loop_control(word == "break", line);
    }
    static constexpr std::array<std::string_view, 8> kRefused = {"include", "extends", "import",     "from",
                                                                 "block",   "do",      "autoescape", "trans"};
    for (std::string_view refused : kRefused) {
      if (word == refused) tokens_.fail_here("the statement '" + word + "' is not supported in a chat template");
    }
    tokens_.fail_here("there is no statement '" + word + "'");
  }

  // One expression after another, each written for itself.
  WithStatement print_statement(int line) {
    WithStatement node;
    while (!tokens_.at(Kind::kBlockEnd)) {
      if (!node.body.empty()) tokens_.expect_operator(",");
      node.body.push_back({OutputStatement{expressions_.expression()}, line});
    }
    return node;
  }

  Statement loop_control(bool is_break, int line) {
    if (loops_ == 0) tokens_.fail_here(std::string(is_break ? "'break'" : "'continue'") + " stands outside of a loop");
    if (is_break) return {BreakStatement{}, line};
    return {ContinueStatement{}, line};
  }

  IfStatement if_statement() {
    expressions_.enter_conditional();
    IfStatement node;
    while (true) {
      tokens_.next();  // if, elif
      ExpressionPointer condition = expressions_.expression_or_tuple(false);
      tokens_.expect(Kind::kBlockEnd, "%}");
      node.branches.emplace_back(std::move(condition), statements({"elif", "else", "endif"}));
      if (!tokens_.at_name("elif")) break;
    }
    if (tokens_.next().text == "else") node.otherwise = block("endif");
    expressions_.leave_conditional();
    return node;
  }

  ForStatement for_statement() {
    tokens_.next();
    ForStatement node;
    node.target = target("in", false);
    if (names_loop(node.target)) tokens_.fail_here("'loop' cannot be the variable of a loop");
    if (!tokens_.skip_name("in")) tokens_.fail_here("expected 'in', got " + tokens_.describe());
    node.iterable = expressions_.expression_or_tuple(false, false, "recursive");
    if (tokens_.skip_name("if")) node.condition = expressions_.expression();
    node.recursive = tokens_.skip_name("recursive");
    tokens_.expect(Kind::kBlockEnd, "%}");
    ++loops_;
    node.body = statements({"else", "endfor"});
    --loops_;
    if (tokens_.next().text == "else") node.otherwise = block("endfor");
    return node;
  }

  bool names_loop(const Target& node) {
    for (const Target& part : node.parts) {
      if (names_loop(part)) return true;
    }
    return !node.is_tuple && node.name == expressions_.name_id("loop");
  }

  Statement set_statement() {
    int line = tokens_.line();
    tokens_.next();
    Target node = target({}, true);
    if (tokens_.skip_operator("=")) {
      return {SetStatement{std::move(node), expressions_.expression_or_tuple()}, line};
    }
    ExpressionPointer filter = expressions_.filters(nullptr, false);
    return {SetBlockStatement{std::move(node), std::move(filter), block("endset")}, line};
  }

  Target single_target(bool with_namespace) {
    Nesting nesting(expressions_.nesting(), tokens_);
    if (tokens_.skip_operator("(")) {
      Target node = target({}, with_namespace);
      tokens_.expect_operator(")");
      return node;
    }
    std::string name = tokens_.expect_name();
    for (std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
      if (name == constant) tokens_.fail_here("'" + name + "' cannot be assigned to");
    }
    Target node;
    node.name = expressions_.name_id(name);
    if (with_namespace && tokens_.skip_operator(".")) node.attribute = tokens_.expect_name();
    return node;
  }

  Target target(std::string_view end_name, bool with_namespace) {
    Target node;
    while (true) {
      bool ends = tokens_.at(Kind::kBlockEnd) || tokens_.at_operator(")") || tokens_.at_operator("=") ||
                  (!end_name.empty() && tokens_.at_name(end_name));
      if (ends && !node.parts.empty()) break;
      node.parts.push_back(single_target(with_namespace));
      if (!tokens_.skip_operator(",")) break;
      node.is_tuple = true;
    }
    if (node.is_tuple) return node;
    Target only = std::move(node.parts[0]);
    return only;
  }

  void signature(MacroDefinition& macro) {
    tokens_.expect_operator("(");
    while (!tokens_.at_operator(")")) {
      if (!macro.parameters.empty()) tokens_.expect_operator(",");
      Parameter parameter;
      parameter.text = tokens_.expect_name();
      parameter.name = expressions_.name_id(parameter.text);
      if (tokens_.skip_operator("=")) {
        parameter.default_value = expressions_.expression();
      } else if (!macro.parameters.empty() && macro.parameters.back().default_value) {
        tokens_.fail_here("a parameter without a default follows one with a default");
      }
      for (const Parameter& other : macro.parameters) {
        if (other.name == parameter.name) tokens_.fail_here("the parameter '" + parameter.text + "' is repeated");
      }
      macro.parameters.push_back(std::move(parameter));
    }
    tokens_.expect_operator(")");
  }

  // The body of a macro or call block; loops outside do not count inside.
  void macro_body(MacroDefinition& macro, std::string_view end) {
    int loops = loops_;
    loops_ = 0;
    expressions_.enter_macro(&macro);
    macro.body = block(end);
    expressions_.leave_macro();
    loops_ = loops;
    for (const Parameter& parameter : macro.parameters) {
      if (parameter.text == "kwargs") macro.uses_kwargs = false;
      if (parameter.text == "varargs") macro.uses_varargs = false;
      if (parameter.text != "caller") continue;
      macro.caller_is_parameter = true;
      if (macro.uses_caller && !parameter.default_value) {
        tokens_.fail_here("the parameter 'caller' must have a default or be left out");
      }
    }
  }

  MacroStatement macro_statement() {
    tokens_.next();
    auto macro = std::make_shared<MacroDefinition>();
    macro->name = tokens_.expect_name();
    NameId name = expressions_.name_id(macro->name);
    signature(*macro);
    macro_body(*macro, "endmacro");
    return {name, std::move(macro)};
  }

  CallBlockStatement call_statement() {
    tokens_.next();
    auto macro = std::make_shared<MacroDefinition>();
    if (tokens_.at_operator("(")) signature(*macro);
    ExpressionPointer call = expressions_.expression();
    if (!std::holds_alternative<CallNode>(call->node)) tokens_.fail_here("a call block needs a call");
    macro_body(*macro, "endcall");
    return {std::move(call), std::move(macro)};
  }

  FilterBlockStatement filter_statement() {
    tokens_.next();
    ExpressionPointer filter = expressions_.filters(nullptr, true);
    return {std::move(filter), block("endfilter")};
  }

  WithStatement with_statement() {
    tokens_.next();
    WithStatement node;
    while (!tokens_.at(Kind::kBlockEnd)) {
      if (!node.bindings.empty()) tokens_.expect_operator(",");
      Target name = single_target(false);
      tokens_.expect_operator("=");
      node.bindings.emplace_back(std::move(name), expressions_.expression());
    }
    node.body = block("endwith");
    return node;
  }

  TokenStream& tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;
};

}  // namespace

std::shared_ptr<const Program> parse(std::string_view source, const std::string& template_name) {
  auto program = std::make_shared<Program>();
  TokenStream tokens(tokenize(source, template_name), template_name);
  program->body = StatementParser(tokens, *program).whole();
  return program;
}

}  // namespace updraft::text::jinja
