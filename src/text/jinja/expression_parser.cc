#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "text/jinja/filters.h"
#include "text/jinja/integers.h"
#include "text/jinja/limits.h"
#include "text/jinja/tests.h"

namespace updraft::text::jinja {
namespace {

using Kind = Token::Kind;

int depth_of(const ExpressionPointer& expression) { return expression ? expression->depth : 0; }

int deepest_of(const ExpressionPointer& a, const ExpressionPointer& b) { return std::max(depth_of(a), depth_of(b)); }

std::optional<Comparison> comparison_of(const Token& token) {
  if (token.kind != Kind::kOperator) return std::nullopt;
  if (token.text == "==") return Comparison::kEqual;
  if (token.text == "!=") return Comparison::kNotEqual;
  if (token.text == "<") return Comparison::kLess;
  if (token.text == "<=") return Comparison::kLessEqual;
  if (token.text == ">") return Comparison::kGreater;
  if (token.text == ">=") return Comparison::kGreaterEqual;
  return std::nullopt;
}

std::optional<BinaryOperator> product_of(const Token& token) {
  if (token.kind != Kind::kOperator) return std::nullopt;
  if (token.text == "*") return BinaryOperator::kMultiply;
  if (token.text == "/") return BinaryOperator::kDivide;
  if (token.text == "//") return BinaryOperator::kFloorDivide;
  if (token.text == "%") return BinaryOperator::kModulo;
  return std::nullopt;
}

}  // namespace

Nesting::Nesting(int& depth, const TokenStream& tokens) : depth_(depth) {
  if (++depth_ > kMaxSyntaxDepth)
    tokens.fail_here(fmt::format("it is nested more than {} levels deep", kMaxSyntaxDepth));
}

ExpressionParser::ExpressionParser(TokenStream& tokens, Program& program) : tokens_(tokens), program_(program) {
  program_.loop = name_id("loop");
  program_.caller = name_id("caller");
  program_.varargs = name_id("varargs");
  program_.kwargs = name_id("kwargs");
}

template <class Node>
ExpressionPointer ExpressionParser::make(Node node, int line, int deepest) {
  if (deepest >= kMaxSyntaxDepth) tokens_.fail_here(fmt::format("it has more than {} levels", kMaxSyntaxDepth));
  auto expression = std::make_unique<Expression>();
  expression->node = std::move(node);
  expression->line = line;
  expression->depth = deepest + 1;
  return expression;
}

NameId ExpressionParser::name_id(const std::string& name) {
  auto [found, is_new] = ids_.emplace(name, static_cast<NameId>(program_.names.size()));
  if (is_new) program_.names.push_back(name);
  return found->second;
}

ExpressionPointer ExpressionParser::expression(bool with_conditional) {
  return with_conditional ? conditional() : disjunction();
}

ExpressionPointer ExpressionParser::expression_or_tuple(bool with_conditional, bool in_parentheses,
                                                        std::string_view end_name) {
  int line = tokens_.line();
  std::vector<ExpressionPointer> items;
  int deepest = 0;
  bool is_tuple = false;
  while (true) {
    bool ends = tokens_.at(Kind::kVariableEnd) || tokens_.at(Kind::kBlockEnd) || tokens_.at_operator(")") ||
                (!end_name.empty() && tokens_.at_name(end_name));
    if (ends) break;
    items.push_back(expression(with_conditional));
    deepest = std::max(deepest, depth_of(items.back()));
    if (!tokens_.skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !in_parentheses) tokens_.fail_here("expected an expression, got " + tokens_.describe());
  return make(ListNode{std::move(items), true}, line, deepest);
}

ExpressionPointer ExpressionParser::conditional() {
  Nesting nesting(nesting_, tokens_);
  int line = tokens_.line();
  ExpressionPointer then = disjunction();
  while (tokens_.skip_name("if")) {
    enter_conditional();
    ExpressionPointer condition = disjunction();
    ExpressionPointer otherwise = tokens_.skip_name("else") ? conditional() : nullptr;
    leave_conditional();
    int deepest = std::max(deepest_of(then, condition), depth_of(otherwise));
    then = make(ConditionalNode{std::move(condition), std::move(then), std::move(otherwise)}, line, deepest);
  }
  return then;
}

ExpressionPointer ExpressionParser::disjunction() {
  int line = tokens_.line();
  ExpressionPointer left = conjunction();
  while (tokens_.skip_name("or")) {
    ExpressionPointer right = conjunction();
    int deepest = deepest_of(left, right);
    left = make(LogicNode{false, std::move(left), std::move(right)}, line, deepest);
  }
  return left;
}

ExpressionPointer ExpressionParser::conjunction() {
  int line = tokens_.line();
  ExpressionPointer left = negation();
  while (tokens_.skip_name("and")) {
    ExpressionPointer right = negation();
    int deepest = deepest_of(left, right);
    left = make(LogicNode{true, std::move(left), std::move(right)}, line, deepest);
  }
  return left;
}

ExpressionPointer ExpressionParser::negation() {
  int line = tokens_.line();
  if (!tokens_.skip_name("not")) return comparison();
  Nesting nesting(nesting_, tokens_);
  ExpressionPointer operand = negation();
  int deepest = depth_of(operand);
  return make(UnaryNode{UnaryOperator::kNot, std::move(operand)}, line, deepest);
}

ExpressionPointer ExpressionParser::comparison() {
  int line = tokens_.line();
  ExpressionPointer first = sum();
  int deepest = depth_of(first);
  std::vector<std::pair<Comparison, ExpressionPointer>> rest;
  while (true) {
    std::optional<Comparison> operation = comparison_of(tokens_.current());
    if (operation) {
      tokens_.next();
    } else if (tokens_.skip_name("in")) {
      operation = Comparison::kIn;
    } else if (tokens_.at_name("not") && tokens_.ahead().kind == Kind::kName && tokens_.ahead().text == "in") {
      tokens_.next();
      tokens_.next();
      operation = Comparison::kNotIn;
    } else {
      break;
    }
    rest.emplace_back(*operation, sum());
    deepest = std::max(deepest, depth_of(rest.back().second));
  }
  if (rest.empty()) return first;
  return make(CompareNode{std::move(first), std::move(rest)}, line, deepest);
}

ExpressionPointer ExpressionParser::sum() {
  int line = tokens_.line();
  ExpressionPointer left = concatenation();
  while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
    BinaryOperator operation = tokens_.next().text == "+" ? BinaryOperator::kAdd : BinaryOperator::kSubtract;
    ExpressionPointer right = concatenation();
    int deepest = deepest_of(left, right);
    left = make(BinaryNode{operation, std::move(left), std::move(right)}, line, deepest);
  }
  return left;
}

ExpressionPointer ExpressionParser::concatenation() {
  int line = tokens_.line();
  std::vector<ExpressionPointer> parts;
  parts.push_back(product());
  int deepest = depth_of(parts[0]);
  while (tokens_.skip_operator("~")) {
    parts.push_back(product());
    deepest = std::max(deepest, depth_of(parts.back()));
  }
  if (parts.size() == 1) return std::move(parts[0]);
  return make(ConcatenateNode{std::move(parts)}, line, deepest);
}

ExpressionPointer ExpressionParser::product() {
  int line = tokens_.line();
  ExpressionPointer left = power();
  while (std::optional<BinaryOperator> operation = product_of(tokens_.current())) {
    tokens_.next();
    ExpressionPointer right = power();
    int deepest = deepest_of(left, right);
    left = make(BinaryNode{*operation, std::move(left), std::move(right)}, line, deepest);
  }
  return left;
}

// Left-associative, and binding less than the unary minus: as the reference parses it, not as Python would.
ExpressionPointer ExpressionParser::power() {
  int line = tokens_.line();
  ExpressionPointer left = unary(true);
  while (tokens_.skip_operator("**")) {
    ExpressionPointer right = unary(true);
    int deepest = deepest_of(left, right);
    left = make(BinaryNode{BinaryOperator::kPower, std::move(left), std::move(right)}, line, deepest);
  }
  return left;
}

ExpressionPointer ExpressionParser::unary(bool with_filter) {
  Nesting nesting(nesting_, tokens_);
  int line = tokens_.line();
  ExpressionPointer node;
  if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
    UnaryOperator operation = tokens_.next().text == "-" ? UnaryOperator::kMinus : UnaryOperator::kPlus;
    ExpressionPointer operand = unary(false);
    int deepest = depth_of(operand);
    node = make(UnaryNode{operation, std::move(operand)}, line, deepest);
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filter_expression(std::move(node)) : std::move(node);
}

ExpressionPointer ExpressionParser::primary() {
  int line = tokens_.line();
  switch (tokens_.current().kind) {
    case Kind::kName:
      return name_or_constant();
    case Kind::kInteger:
    case Kind::kFloat:
      return number();
    case Kind::kString: {
      std::string text;
      while (tokens_.at(Kind::kString)) text += tokens_.next().text;
      return make(LiteralNode{Value(std::move(text))}, line, 0);
    }
    default:
      break;
  }
  if (tokens_.skip_operator("(")) {
    ExpressionPointer inside = expression_or_tuple(true, true);
    tokens_.expect_operator(")");
    return inside;
  }
  if (tokens_.at_operator("[")) return list();
  if (tokens_.at_operator("{")) return dict();
  tokens_.fail_here("unexpected " + tokens_.describe());
}

ExpressionPointer ExpressionParser::name_or_constant() {
  int line = tokens_.line();
  std::string name = tokens_.next().text;
  if (name == "true" || name == "True") return make(LiteralNode{Value(true)}, line, 0);
  if (name == "false" || name == "False") return make(LiteralNode{Value(false)}, line, 0);
  if (name == "none" || name == "None") return make(LiteralNode{Value(None{})}, line, 0);
  for (MacroDefinition* macro : macros_) {
    macro->uses_caller |= name == "caller";
    macro->uses_varargs |= name == "varargs";
    macro->uses_kwargs |= name == "kwargs";
  }
  return make(NameNode{name_id(name)}, line, 0);
}

ExpressionPointer ExpressionParser::number() {
  int line = tokens_.line();
  const Token& token = tokens_.current();
  std::string_view text = token.text;
  if (token.kind == Kind::kFloat) {
    double value = std::strtod(token.text.c_str(), nullptr);  // an overflow is infinity, as in Python
    tokens_.next();
    return make(LiteralNode{Value(value)}, line, 0);
  }
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    char letter = static_cast<char>(text[1] | 0x20);
    base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    if (base != 10) text.remove_prefix(2);
  }
  Value value;
  try {
    value = read_integer(text, base, false);
  } catch (const TemplateError& error) {
    tokens_.fail_here(error.what());
  }
  tokens_.next();
  return make(LiteralNode{std::move(value)}, line, 0);
}

ExpressionPointer ExpressionParser::list() {
  int line = tokens_.line();
  tokens_.expect_operator("[");
  std::vector<ExpressionPointer> items;
  int deepest = 0;
  while (!tokens_.at_operator("]")) {
    if (!items.empty()) tokens_.expect_operator(",");
    if (tokens_.at_operator("]")) break;
    items.push_back(expression());
    deepest = std::max(deepest, depth_of(items.back()));
  }
  tokens_.expect_operator("]");
  return make(ListNode{std::move(items), false}, line, deepest);
}

ExpressionPointer ExpressionParser::dict() {
  int line = tokens_.line();
  tokens_.expect_operator("{");
  std::vector<std::pair<ExpressionPointer, ExpressionPointer>> entries;
  int deepest = 0;
  while (!tokens_.at_operator("}")) {
    if (!entries.empty()) tokens_.expect_operator(",");
    if (tokens_.at_operator("}")) break;
    ExpressionPointer key = expression();
    tokens_.expect_operator(":");
    ExpressionPointer value = expression();
    deepest = std::max(deepest, deepest_of(key, value));
    entries.emplace_back(std::move(key), std::move(value));
  }
  tokens_.expect_operator("}");
  return make(DictNode{std::move(entries)}, line, deepest);
}

ExpressionPointer ExpressionParser::postfix(ExpressionPointer node) {
  while (true) {
    if (tokens_.at_operator(".") || tokens_.at_operator("[")) {
      node = subscript(std::move(node));
    } else if (tokens_.at_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPointer ExpressionParser::filter_expression(ExpressionPointer node) {
  while (true) {
    if (tokens_.at_operator("|")) {
      node = filters(std::move(node), false);
    } else if (tokens_.at_name("is")) {
      node = test(std::move(node));
    } else if (tokens_.at_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPointer ExpressionParser::subscript(ExpressionPointer object) {
  int line = tokens_.line();
  int deepest = depth_of(object);
  if (tokens_.skip_operator(".")) {
    if (tokens_.at(Kind::kInteger)) return make(ItemNode{std::move(object), number()}, line, deepest + 1);
    if (!tokens_.at(Kind::kName)) tokens_.fail_here("expected a name or a number, got " + tokens_.describe());
    return make(AttributeNode{std::move(object), tokens_.next().text}, line, deepest);
  }
  tokens_.expect_operator("[");
  std::vector<ExpressionPointer> indices;
  while (!tokens_.at_operator("]")) {
    if (!indices.empty()) tokens_.expect_operator(",");
    indices.push_back(subscripted());
    deepest = std::max(deepest, depth_of(indices.back()));
  }
  tokens_.expect_operator("]");
  if (indices.size() == 1) return make(ItemNode{std::move(object), std::move(indices[0])}, line, deepest);
  ExpressionPointer index = make(ListNode{std::move(indices), true}, line, deepest);
  return make(ItemNode{std::move(object), std::move(index)}, line, deepest + 1);
}

ExpressionPointer ExpressionParser::subscripted() {
  int line = tokens_.line();
  ExpressionPointer start, stop, step;
  if (!tokens_.at_operator(":")) {
    start = expression();
    if (!tokens_.at_operator(":")) return start;
  }
  tokens_.expect_operator(":");
  auto ends = [&] { return tokens_.at_operator("]") || tokens_.at_operator(","); };
  if (!ends() && !tokens_.at_operator(":")) stop = expression();
  if (tokens_.skip_operator(":") && !ends()) step = expression();
  int deepest = std::max(deepest_of(start, stop), depth_of(step));
  return make(SliceNode{std::move(start), std::move(stop), std::move(step)}, line, deepest);
}

CallArguments ExpressionParser::call_arguments(int& deepest) {
  CallArguments arguments;
  auto note = [&](const ExpressionPointer& argument) { deepest = std::max(deepest, depth_of(argument)); };
  auto ensure = [&](bool right) {
    if (!right) tokens_.fail_here("invalid syntax for a function call");
  };
  tokens_.expect_operator("(");
  bool first = true;
  while (!tokens_.at_operator(")")) {
    if (!first) {
      tokens_.expect_operator(",");
      if (tokens_.at_operator(")")) break;
    }
    first = false;
    if (tokens_.skip_operator("*")) {
      ensure(!arguments.spread && !arguments.spread_named);
      arguments.spread = expression();
      note(arguments.spread);
    } else if (tokens_.skip_operator("**")) {
      ensure(!arguments.spread_named);
      arguments.spread_named = expression();
      note(arguments.spread_named);
    } else if (tokens_.at(Kind::kName) && tokens_.ahead().kind == Kind::kOperator && tokens_.ahead().text == "=") {
      ensure(!arguments.spread_named);
      std::string name = tokens_.next().text;
      tokens_.next();
      for (const auto& [other, value] : arguments.named) {
        if (other == name) tokens_.fail_here("the keyword argument " + name + " is repeated");
      }
      arguments.named.emplace_back(name, expression());
      note(arguments.named.back().second);
    } else {
      ensure(!arguments.spread && !arguments.spread_named && arguments.named.empty());
      arguments.positional.push_back(expression());
      note(arguments.positional.back());
    }
  }
  tokens_.expect_operator(")");
  return arguments;
}

ExpressionPointer ExpressionParser::call(ExpressionPointer callee) {
  int line = tokens_.line();
  int deepest = depth_of(callee);
  CallArguments arguments = call_arguments(deepest);
  return make(CallNode{std::move(callee), std::move(arguments)}, line, deepest);
}

std::string ExpressionParser::dotted_name() {
  std::string name = tokens_.expect_name();
  while (tokens_.skip_operator(".")) name += "." + tokens_.expect_name();
  return name;
}

ExpressionPointer ExpressionParser::filters(ExpressionPointer operand, bool start_inline) {
  while (start_inline || tokens_.skip_operator("|")) {
    start_inline = false;
    int line = tokens_.line();
    std::string name = dotted_name();
    if (conditionals_ == 0 && !is_filter(name)) tokens_.fail_here("there is no filter named '" + name + "'");
    int deepest = depth_of(operand);
    CallArguments arguments;
    if (tokens_.at_operator("(")) arguments = call_arguments(deepest);
    operand = make(FilterNode{std::move(operand), std::move(name), std::move(arguments)}, line, deepest);
  }
  return operand;
}

ExpressionPointer ExpressionParser::test(ExpressionPointer operand) {
  int line = tokens_.line();
  tokens_.next();  // is
  bool negated = tokens_.skip_name("not");
  std::string name = dotted_name();
  if (conditionals_ == 0 && !is_test(name)) tokens_.fail_here("there is no test named '" + name + "'");
  int deepest = depth_of(operand);
  CallArguments arguments;
  bool is_word = tokens_.at(Kind::kName);
  bool ends = tokens_.at_name("else") || tokens_.at_name("or") || tokens_.at_name("and");
  bool is_literal = tokens_.at(Kind::kString) || tokens_.at(Kind::kInteger) || tokens_.at(Kind::kFloat) ||
                    tokens_.at_operator("[") || tokens_.at_operator("{");
  if (tokens_.at_operator("(")) {
    arguments = call_arguments(deepest);
  } else if ((is_word && !ends) || is_literal) {
    if (tokens_.at_name("is")) tokens_.fail_here("tests cannot be chained with 'is'");
    arguments.positional.push_back(postfix(primary()));
    deepest = std::max(deepest, depth_of(arguments.positional[0]));
  }
  ExpressionPointer node = make(TestNode{std::move(operand), std::move(name), std::move(arguments)}, line, deepest);
  if (!negated) return node;
  int depth = depth_of(node);
  return make(UnaryNode{UnaryOperator::kNot, std::move(node)}, line, depth);
}

}  // namespace updraft::text::jinja
