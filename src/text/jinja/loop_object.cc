#include "text/jinja/loop_object.h"

#include "text/jinja/arguments.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace updraft::text::jinja {

LoopObject::LoopObject(const ForStatement& statement, ScopePointer scope, const Value& iterable,
                       std::shared_ptr<Cursor> cursor, int64_t level)
    : statement_(statement),
      scope_(std::move(scope)),
      cursor_(std::move(cursor)),
      level_(level),
      held_(iterable.depth() + 1) {
  if (!statement.condition) length_ = length_of(iterable);
}

bool LoopObject::advance() {
  if (!peek()) return false;
  if (index_ >= 0) previous_ = current_;
  current_ = std::move(ahead_.front());
  ahead_.pop_front();
  ++index_;
  return true;
}

void LoopObject::clear() {
  scope_.reset();
  cursor_.reset();
  ahead_.clear();
  current_ = Value();
  previous_.reset();
  last_checked_.reset();
}

bool LoopObject::peek() {
  if (!ahead_.empty()) return true;
  Value item;
  if (!cursor_ || !cursor_->next(item)) return false;
  ahead_.push_back(std::move(item));
  return true;
}

int64_t LoopObject::total() {
  if (!length_) {
    for (Value item; cursor_ && cursor_->next(item);) ahead_.push_back(item);
    length_ = index_ + 1 + static_cast<int64_t>(ahead_.size());
  }
  return *length_;
}

std::string LoopObject::representation(int) const { return fmt::format("<LoopContext {}/{}>", index_ + 1, *length()); }

bool LoopObject::changed(Interpreter& interpreter, const Value& values) {
  if (!owned_) interpreter.own(shared_from_this());  // the values may hold the loop itself
  owned_ = true;
  if (last_checked_ && equal(*last_checked_, values)) return false;
  last_checked_ = values;
  return true;
}

std::optional<Value> LoopObject::attribute(std::string_view name) {
  if (name == "index") return Value(index_ + 1);
  if (name == "index0") return Value(index_);
  if (name == "revindex") return Value(total() - index_);
  if (name == "revindex0") return Value(total() - index_ - 1);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(!peek());
  if (name == "length") return Value(total());
  if (name == "depth") return Value(level_ + 1);
  if (name == "depth0") return Value(level_);
  if (name == "previtem") return previous_ ? *previous_ : Value::undefined("there is no previous item");
  if (name == "nextitem") return peek() ? ahead_.front() : Value::undefined("there is no next item");
  if (name == "cycle") {
    return make_function("cycle", [index = index_](Interpreter&, const Arguments& arguments) {
      if (arguments.positional.empty() || !arguments.named.empty()) refuse("no items for cycling given");
      return arguments.positional[static_cast<size_t>(index) % arguments.positional.size()];
    });
  }
  if (name == "changed") {
    return make_function(
        "changed",
        [self = shared_from_this()](Interpreter& interpreter, const Arguments& arguments) {
          return Value(self->changed(interpreter, Value::tuple(arguments.positional)));
        },
        held_);
  }
  return std::nullopt;
}

Value LoopObject::call(Interpreter& interpreter, const Arguments& arguments) {
  Bound bound(arguments, "loop", {"iterable"}, 1);
  if (!statement_.recursive) refuse("the loop must have the 'recursive' marker to be called recursively");
  return interpreter.run_loop_again(statement_, scope_, bound[0], level_ + 1);
}

}  // namespace updraft::text::jinja
