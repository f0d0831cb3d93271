// The tree of a parsed template. Names are numbers (see Program::names), so that the interpreter compares no strings.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

using NameId = int;

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

enum class UnaryOperator { kNot, kMinus, kPlus };
enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class Comparison { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

struct CallArguments {
  std::vector<ExpressionPointer> positional;
  std::vector<std::pair<std::string, ExpressionPointer>> named;
  ExpressionPointer spread;        // *args
  ExpressionPointer spread_named;  // **kwargs
};

struct LiteralNode {
  Value value;
};
struct NameNode {
  NameId name;
};
struct ListNode {
  std::vector<ExpressionPointer> items;
  bool is_tuple;
};
struct DictNode {
  std::vector<std::pair<ExpressionPointer, ExpressionPointer>> entries;
};
struct UnaryNode {
  UnaryOperator operation;
  ExpressionPointer operand;
};
struct BinaryNode {
  BinaryOperator operation;
  ExpressionPointer left, right;
};
struct LogicNode {
  bool is_and;
  ExpressionPointer left, right;
};
struct CompareNode {
  ExpressionPointer first;
  std::vector<std::pair<Comparison, ExpressionPointer>> rest;
};
struct ConcatenateNode {
  std::vector<ExpressionPointer> parts;
};
struct ConditionalNode {
  ExpressionPointer condition, then, otherwise;
};  // otherwise may be null: undefined
struct AttributeNode {
  ExpressionPointer object;
  std::string name;
};
struct ItemNode {
  ExpressionPointer object, index;
};
struct SliceNode {
  ExpressionPointer start, stop, step;
};  // each may be null
struct CallNode {
  ExpressionPointer callee;
  CallArguments arguments;
};
struct FilterNode {
  ExpressionPointer operand;
  std::string name;
  CallArguments arguments;
};  // operand null: the block's text
struct TestNode {
  ExpressionPointer operand;
  std::string name;
  CallArguments arguments;
};

struct Expression {
  std::variant<LiteralNode, NameNode, ListNode, DictNode, UnaryNode, BinaryNode, LogicNode, CompareNode,
               ConcatenateNode, ConditionalNode, AttributeNode, ItemNode, SliceNode, CallNode, FilterNode, TestNode>
      node;
  int line = 0;
  int depth = 1;
};

// What can stand left of `=`: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  NameId name = -1;
  std::string attribute;  // of the namespace `name`; empty: the name itself
  std::vector<Target> parts;
  bool is_tuple = false;
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameter {
  NameId name;
  std::string text;
  ExpressionPointer default_value;  // may be null
};

// A macro, or the body that a call block hands to its macro as `caller`.
struct MacroDefinition {
  std::string name;  // empty for a call block
  std::vector<Parameter> parameters;
  Body body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  bool caller_is_parameter = false;
};

struct TextStatement {
  std::string text;
};
struct OutputStatement {
  ExpressionPointer expression;
};
struct IfStatement {
  std::vector<std::pair<ExpressionPointer, Body>> branches;
  Body otherwise;
};
struct ForStatement {
  Target target;
  ExpressionPointer iterable, condition;
  Body body, otherwise;
  bool recursive;
};
struct SetStatement {
  Target target;
  ExpressionPointer value;
};
struct SetBlockStatement {
  Target target;
  ExpressionPointer filter;
  Body body;
};
struct MacroStatement {
  NameId name;
  std::shared_ptr<const MacroDefinition> macro;
};
struct CallBlockStatement {
  ExpressionPointer call;
  std::shared_ptr<const MacroDefinition> caller;
};
struct FilterBlockStatement {
  ExpressionPointer filter;
  Body body;
};
struct WithStatement {
  std::vector<std::pair<Target, ExpressionPointer>> bindings;
  Body body;
};  // also {% generation %}
struct BreakStatement {};
struct ContinueStatement {};

struct Statement {
  std::variant<TextStatement, OutputStatement, IfStatement, ForStatement, SetStatement, SetBlockStatement,
               MacroStatement, CallBlockStatement, FilterBlockStatement, WithStatement, BreakStatement,
               ContinueStatement>
      node;
  int line = 0;
};

struct Program {
  Body body;
  std::vector<std::string> names;
  // Names the interpreter itself sets.
  NameId loop = -1, caller = -1, varargs = -1, kwargs = -1;
};

}  // namespace updraft::text::jinja
