// Interpreter: runs one program once over its variables. Counts its steps, its depth and its output, and ends with a
// TemplateError beyond the limits (limits.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace updraft::text::jinja {

// The variables of one block; the outermost scope's parent are the variables of the call.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer) : parent(std::move(outer)) {}
  void set(NameId name, Value value);
  const Value* find(NameId name) const;

  std::shared_ptr<Scope> parent;
  std::vector<std::pair<NameId, Value>> variables;
};
using ScopePointer = std::shared_ptr<Scope>;

class LoopObject;

class Interpreter {
 public:
  Interpreter(const Program& program, const Dict& variables);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  std::string run();

  // What filters, tests, methods and objects need of their interpreter.
  void spend(uint64_t steps);
  Value attribute(const Value& object, std::string_view name);  // object.name
  Value item(const Value& object, const Value& index);          // object[index]
  Value call(const Value& callee, const Arguments&);
  Value call_filter(const std::string& name, const Value& operand, const Arguments&);
  bool call_test(const std::string& name, const Value& operand, const Arguments&);
  Value call_macro(const MacroDefinition&, const ScopePointer& scope, const Arguments&);
  Value run_loop_again(const ForStatement&, const ScopePointer& scope, const Value& iterable, int64_t depth);
  // Objects that can be changed may come to hold themselves; they are emptied when the run ends.
  template <class T>
  std::shared_ptr<T> own(std::shared_ptr<T> object) {
    owned_.push_back([object] { object->clear(); });
    return object;
  }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Level;

  Value evaluate(const Expression&);
  Value evaluate(const LiteralNode& node) { return node.value; }
  Value evaluate(const NameNode&);
  Value evaluate(const ListNode&);
  Value evaluate(const DictNode&);
  Value evaluate(const UnaryNode&);
  Value evaluate(const BinaryNode&);
  Value evaluate(const LogicNode&);
  Value evaluate(const CompareNode&);
  Value evaluate(const ConcatenateNode&);
  Value evaluate(const ConditionalNode&);
  Value evaluate(const AttributeNode&);
  Value evaluate(const ItemNode&);
  Value evaluate(const SliceNode&);
  Value evaluate(const CallNode&);
  Value evaluate(const FilterNode&);
  Value evaluate(const TestNode&);
  Arguments arguments(const CallArguments&);
  Value call_node(const CallNode&, Arguments);

  Flow execute(const Body&);
  Flow execute(const TextStatement&);
  Flow execute(const OutputStatement&);
  Flow execute(const IfStatement&);
  Flow execute(const ForStatement&);
  Flow execute(const SetStatement&);
  Flow execute(const SetBlockStatement&);
  Flow execute(const MacroStatement&);
  Flow execute(const CallBlockStatement&);
  Flow execute(const FilterBlockStatement&);
  Flow execute(const WithStatement&);
  Flow execute(const BreakStatement&) { return Flow::kBreak; }
  Flow execute(const ContinueStatement&) { return Flow::kContinue; }
  void run_loop(const ForStatement&, const Value& iterable, int64_t depth);
  std::shared_ptr<Cursor> filtered(const ForStatement&, std::shared_ptr<Cursor>);
  std::string captured(const Body&);  // the body's output, in a scope of its own
  Value filtered_text(const Expression& filter, std::string text);

  const Value* lookup(NameId name) const;
  void assign(const Target&, const Value&);
  void write(std::string_view text);
  ScopePointer capture_scope();  // for closures: the scope may then hold itself

  const Program& program_;
  std::vector<std::optional<Value>> outer_;  // variables and globals by name
  ScopePointer scope_;
  std::string* output_ = nullptr;
  Value block_text_;  // what a filter block's filter begins with
  std::vector<std::function<void()>> owned_;
  int64_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace updraft::text::jinja
