#include "text/jinja/interpreter.h"

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/globals.h"
#include "text/jinja/limits.h"
#include "text/jinja/loop_object.h"
#include "text/jinja/macro_object.h"
#include "text/jinja/methods.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/tests.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

// What a value costs to look through, so that steps bound the time.
uint64_t cost(const Value& value) { return 1 + value.weight() / 8; }

// Filters whose work does not grow with their operand.
bool is_cheap_filter(const std::string& name) {
  return name == "length" || name == "count" || name == "first" || name == "last" || name == "default" || name == "d" ||
         name == "items";
}

}  // namespace

void Scope::set(NameId name, Value value) {
  for (auto& [id, slot] : variables) {
    if (id == name) {
      slot = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

const Value* Scope::find(NameId name) const {
  for (const auto& [id, value] : variables) {
    if (id == name) return &value;
  }
  return nullptr;
}

// One level of evaluation.
class Interpreter::Level {
 public:
  explicit Level(Interpreter& interpreter) : depth_(interpreter.depth_) {
    if (depth_ >= kMaxRuntimeDepth) refuse("the template recurses more than {} levels deep", kMaxRuntimeDepth);
    ++depth_;
    interpreter.spend(1);
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

// Puts a variable of the interpreter to another value for the length of a block.
template <class T>
class Swapped {
 public:
  Swapped(T& variable, T value) : variable_(variable), saved_(std::exchange(variable, std::move(value))) {}
  ~Swapped() { variable_ = std::move(saved_); }
  Swapped(const Swapped&) = delete;
  Swapped& operator=(const Swapped&) = delete;

 private:
  T& variable_;
  T saved_;
};

Interpreter::Interpreter(const Program& program, const Dict& variables)
    : program_(program), outer_(program.names.size()), scope_(std::make_shared<Scope>(nullptr)) {
  for (size_t i = 0; i < program.names.size(); ++i) {
    const Value* given = variables.find(std::string_view(program.names[i]));
    outer_[i] = given ? std::optional<Value>(*given) : find_global(program.names[i]);
  }
}

Interpreter::~Interpreter() {
  for (const auto& clear : owned_) clear();
}

std::string Interpreter::run() {
  std::string out;
  Swapped<std::string*> output(output_, &out);
  execute(program_.body);
  return out;
}

void Interpreter::spend(uint64_t steps) {
  steps_ += static_cast<int64_t>(std::min<uint64_t>(steps, kMaxSteps));
  if (steps_ > kMaxSteps) refuse("the template needs more than {} steps", kMaxSteps);
}

const Value* Interpreter::lookup(NameId name) const {
  for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
    if (const Value* found = scope->find(name)) return found;
  }
  const auto& given = outer_[static_cast<size_t>(name)];
  return given ? &*given : nullptr;
}

Value Interpreter::attribute(const Value& object, std::string_view name) {
  if (std::optional<Value> found = find_attribute(*this, object, name)) return *found;
  if (std::optional<Value> found = item_of(object, Value(name))) return *found;
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", qualified_type_name(object), name));
}

Value Interpreter::item(const Value& object, const Value& index) {
  if (std::optional<Value> found = item_of(object, index)) return *found;
  if (!index.is_string()) {
    return Value::undefined(fmt::format("{} has no element {}", qualified_type_name(object), representation(index)));
  }
  if (std::optional<Value> found = find_attribute(*this, object, index.text())) return *found;
  return Value::undefined(
      fmt::format("'{}' has no attribute {}", qualified_type_name(object), quoted_text(index.text())));
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) refuse_undefined(callee);
  if (!callee.is_object()) refuse("'{}' object is not callable", type_name(callee));
  // A copy: the call may replace the value that it is called through.
  std::shared_ptr<Object> object = callee.object();  // NOLINT(performance-unnecessary-copy-initialization)
  for (const Value& argument : arguments.positional) spend(cost(argument));
  Value result = object->call(*this, arguments);
  spend(cost(result));
  return result;
}

Value Interpreter::call_filter(const std::string& name, const Value& operand, const Arguments& arguments) {
  Filter filter = find_filter(name);
  if (!filter) refuse("No filter named '{}'.", name);
  if (is_cheap_filter(name)) return filter(*this, operand, arguments);
  spend(cost(operand));
  for (const Value& argument : arguments.positional) spend(cost(argument));
  Value result = filter(*this, operand, arguments);
  spend(cost(result));
  return result;
}

bool Interpreter::call_test(const std::string& name, const Value& operand, const Arguments& arguments) {
  Test test = find_test(name);
  if (!test) refuse("No test named '{}'.", name);
  for (const Value& argument : arguments.positional) spend(cost(argument));
  return test(*this, operand, arguments);
}

Value Interpreter::evaluate(const Expression& expression) {
  Level level(*this);
  return std::visit([this](const auto& node) { return evaluate(node); }, expression.node);
}

Value Interpreter::evaluate(const NameNode& node) {
  if (const Value* found = lookup(node.name)) return *found;
  return Value::undefined(fmt::format("'{}' is undefined", program_.names[static_cast<size_t>(node.name)]));
}

Value Interpreter::evaluate(const ListNode& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const auto& item : node.items) items.push_back(evaluate(*item));
  return node.is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value Interpreter::evaluate(const DictNode& node) {
  Dict dict;
  for (const auto& [key, value] : node.entries) {
    Value evaluated = evaluate(*key);
    dict.set(std::move(evaluated), evaluate(*value));
  }
  return Value::dict(std::move(dict));
}

Value Interpreter::evaluate(const UnaryNode& node) { return apply(node.operation, evaluate(*node.operand)); }

Value Interpreter::evaluate(const BinaryNode& node) {
  Value left = evaluate(*node.left);
  Value right = evaluate(*node.right);
  Value result = apply(node.operation, left, right);
  spend(std::max({left.weight(), right.weight(), result.weight()}) / 8);
  return result;
}

Value Interpreter::evaluate(const LogicNode& node) {
  Value left = evaluate(*node.left);
  return truthy(left) == node.is_and ? evaluate(*node.right) : left;
}

Value Interpreter::evaluate(const CompareNode& node) {
  Value left = evaluate(*node.first);
  for (const auto& [operation, expression] : node.rest) {
    Value right = evaluate(*expression);
    bool searches = operation == Comparison::kIn || operation == Comparison::kNotIn;
    spend(searches ? cost(right) : std::min(cost(left), cost(right)));
    if (!compare(operation, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate(const ConcatenateNode& node) {
  std::string text;
  for (const auto& part : node.parts) {
    Value value = evaluate(*part);
    spend(value.weight() / 8);
    text += to_text(value);
    check_string_size(text.size());
  }
  spend(text.size() / 64);
  return Value(std::move(text));
}

Value Interpreter::evaluate(const ConditionalNode& node) {
  if (truthy(evaluate(*node.condition))) return evaluate(*node.then);
  if (node.otherwise) return evaluate(*node.otherwise);
  return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::evaluate(const AttributeNode& node) { return attribute(evaluate(*node.object), node.name); }

Value Interpreter::evaluate(const ItemNode& node) {
  Value object = evaluate(*node.object);
  if (const auto* slice = std::get_if<SliceNode>(&node.index->node)) {
    auto bound = [&](const ExpressionPointer& expression) {
      return expression ? evaluate(*expression) : Value(None{});
    };
    Value start = bound(slice->start);
    Value stop = bound(slice->stop);
    Value result = slice_of(object, start, stop, bound(slice->step));
    spend(cost(result));
    return result;
  }
  return item(object, evaluate(*node.index));
}

Value Interpreter::evaluate(const SliceNode&) { refuse("a slice can only stand alone between brackets"); }

Arguments Interpreter::arguments(const CallArguments& node) {
  Arguments out;
  for (const auto& argument : node.positional) out.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : node.named) out.named.emplace_back(name, evaluate(*argument));
  if (node.spread) {
    for (const Value& item : to_vector(evaluate(*node.spread))) out.positional.push_back(item);
  }
  if (node.spread_named) {
    Value mapping = evaluate(*node.spread_named);
    if (!mapping.is_dict()) refuse("argument after ** must be a mapping, not {}", type_name(mapping));
    for (const auto& [key, value] : mapping.dict().entries()) {
      if (!key.is_string()) refuse("keywords must be strings");
      for (const auto& [name, other] : out.named) {
        if (name == key.text()) refuse("got multiple values for keyword argument '{}'", name);
      }
      out.named.emplace_back(key.text(), value);
    }
  }
  return out;
}

Value Interpreter::evaluate(const CallNode& node) {
  Value callee = evaluate(*node.callee);
  return call(callee, arguments(node.arguments));
}

Value Interpreter::evaluate(const FilterNode& node) {
  Value operand = node.operand ? evaluate(*node.operand) : block_text_;
  return call_filter(node.name, operand, arguments(node.arguments));
}

Value Interpreter::evaluate(const TestNode& node) {
  Value operand = evaluate(*node.operand);
  return call_test(node.name, operand, arguments(node.arguments));
}

void Interpreter::write(std::string_view text) {
  check_string_size(output_->size() + text.size());
  spend(text.size() / 64);
  *output_ += text;
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  Level level(*this);
  for (const Statement& statement : body) {
    spend(1);
    Flow flow = std::visit([this](const auto& node) { return execute(node); }, statement.node);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const TextStatement& node) {
  write(node.text);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const OutputStatement& node) {
  Value value = evaluate(*node.expression);
  spend(value.weight() / 8);
  if (value.is_string()) {
    write(value.text());
  } else {
    write(to_text(value));
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const IfStatement& node) {
  for (const auto& [condition, body] : node.branches) {
    if (truthy(evaluate(*condition))) return execute(body);
  }
  return execute(node.otherwise);
}

Interpreter::Flow Interpreter::execute(const ForStatement& node) {
  run_loop(node, evaluate(*node.iterable), 0);
  return Flow::kNext;
}

std::shared_ptr<Cursor> Interpreter::filtered(const ForStatement& node, std::shared_ptr<Cursor> cursor) {
  return std::make_shared<FunctionCursor>([this, &node, cursor = std::move(cursor), outer = scope_](Value& item) {
    while (cursor->next(item)) {
      Swapped<ScopePointer> inner(scope_, std::make_shared<Scope>(outer));
      assign(node.target, item);
      if (truthy(evaluate(*node.condition))) return true;
    }
    return false;
  });
}

void Interpreter::run_loop(const ForStatement& node, const Value& iterable, int64_t depth) {
  std::shared_ptr<Cursor> cursor = iterate(iterable);
  if (node.condition) cursor = filtered(node, std::move(cursor));
  auto loop = std::make_shared<LoopObject>(node, node.recursive ? capture_scope() : nullptr, iterable,
                                           std::move(cursor), depth);
  ScopePointer outer = scope_;
  bool ran = false;
  while (loop->advance()) {
    ran = true;
    spend(1);
    Swapped<ScopePointer> inner(scope_, std::make_shared<Scope>(outer));
    scope_->set(program_.loop, Value(std::shared_ptr<Object>(loop)));
    assign(node.target, loop->current());
    if (execute(node.body) == Flow::kBreak) break;
  }
  if (ran) return;
  Swapped<ScopePointer> inner(scope_, std::make_shared<Scope>(outer));
  execute(node.otherwise);
}

Value Interpreter::run_loop_again(const ForStatement& node, const ScopePointer& scope, const Value& iterable,
                                  int64_t depth) {
  Level level(*this);
  std::string out;
  Swapped<std::string*> output(output_, &out);
  Swapped<ScopePointer> outer(scope_, scope);
  run_loop(node, iterable, depth);
  return Value(std::move(out));
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    if (!is_iterable(value)) refuse("cannot unpack non-iterable {} object", type_name(value));
    std::vector<Value> items = to_vector(value);
    if (items.size() < target.parts.size()) {
      refuse("not enough values to unpack (expected {}, got {})", target.parts.size(), items.size());
    }
    if (items.size() > target.parts.size()) refuse("too many values to unpack (expected {})", target.parts.size());
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
  } else if (target.attribute.empty()) {
    scope_->set(target.name, value);
  } else {
    const Value* holder = lookup(target.name);
    std::shared_ptr<Namespace> names = holder ? holder->object_as<Namespace>() : nullptr;
    if (!names) refuse("cannot assign attribute on non-namespace object");
    names->set(target.attribute, value);
  }
}

Interpreter::Flow Interpreter::execute(const SetStatement& node) {
  assign(node.target, evaluate(*node.value));
  return Flow::kNext;
}

std::string Interpreter::captured(const Body& body) {
  std::string out;
  Swapped<std::string*> output(output_, &out);
  Swapped<ScopePointer> inner(scope_, std::make_shared<Scope>(scope_));
  execute(body);
  return out;
}

Value Interpreter::filtered_text(const Expression& filter, std::string text) {
  Swapped<Value> inside(block_text_, Value(std::move(text)));
  return evaluate(filter);
}

Interpreter::Flow Interpreter::execute(const SetBlockStatement& node) {
  std::string text = captured(node.body);
  assign(node.target, node.filter ? filtered_text(*node.filter, std::move(text)) : Value(std::move(text)));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const FilterBlockStatement& node) {
  Value filtered = filtered_text(*node.filter, captured(node.body));
  if (!filtered.is_string()) refuse("the filter of a block must make a text, not {}", type_name(filtered));
  write(filtered.text());
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const WithStatement& node) {
  std::vector<Value> values;
  for (const auto& binding : node.bindings) values.push_back(evaluate(*binding.second));
  Swapped<ScopePointer> inner(scope_, std::make_shared<Scope>(scope_));
  for (size_t i = 0; i < values.size(); ++i) assign(node.bindings[i].first, values[i]);
  return execute(node.body);
}

ScopePointer Interpreter::capture_scope() {
  ScopePointer scope = scope_;
  owned_.push_back([scope] { scope->variables.clear(); });
  return scope;
}

Interpreter::Flow Interpreter::execute(const MacroStatement& node) {
  scope_->set(node.name, Value(std::shared_ptr<Object>(std::make_shared<MacroObject>(node.macro, capture_scope()))));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const CallBlockStatement& node) {
  const auto& call_expression = std::get<CallNode>(node.call->node);
  Value callee = evaluate(*call_expression.callee);
  Arguments given = arguments(call_expression.arguments);
  for (const auto& [name, value] : given.named) {
    if (name == "caller") refuse("got multiple values for keyword argument 'caller'");
  }
  given.named.emplace_back("caller",
                           Value(std::shared_ptr<Object>(std::make_shared<MacroObject>(node.caller, capture_scope()))));
  write(to_text(call(callee, given)));
  return Flow::kNext;
}

Value Interpreter::call_macro(const MacroDefinition& macro, const ScopePointer& scope, const Arguments& given) {
  Level level(*this);
  Swapped<ScopePointer> inner(scope_, std::make_shared<Scope>(scope));
  MacroBinding binding = bind_macro(macro, given);
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    if (binding.values[i]) {
      scope_->set(parameter.name, *binding.values[i]);
    } else if (parameter.default_value) {
      scope_->set(parameter.name, evaluate(*parameter.default_value));
    } else {
      scope_->set(parameter.name, Value::undefined(fmt::format("parameter '{}' was not provided", parameter.text)));
    }
  }
  if (macro.uses_caller && !macro.caller_is_parameter) scope_->set(program_.caller, binding.caller);
  if (macro.uses_kwargs) scope_->set(program_.kwargs, binding.kwargs);
  if (macro.uses_varargs) scope_->set(program_.varargs, binding.varargs);
  std::string out;
  Swapped<std::string*> output(output_, &out);
  execute(macro.body);
  return Value(std::move(out));
}

}  // namespace updraft::text::jinja
