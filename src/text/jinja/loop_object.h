// `loop`: where a for statement is. Looks ahead only when it is asked to.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"
#include "text/jinja/value.h"

namespace updraft::text::jinja {

class LoopObject : public Object, public std::enable_shared_from_this<LoopObject> {
 public:
  // `scope`: where a recursive loop runs again. `level`: how often it has.
  LoopObject(const ForStatement& statement, ScopePointer scope, const Value& iterable, std::shared_ptr<Cursor> cursor,
             int64_t level);

  bool advance();  // to the next item; false at the end
  const Value& current() const { return current_; }
  void clear();

  std::string type_name() const override { return "LoopContext"; }
  std::string representation(int depth) const override;
  std::optional<int64_t> length() const override { return const_cast<LoopObject*>(this)->total(); }
  std::optional<Value> attribute(std::string_view name) override;
  bool callable() const override { return true; }
  uint32_t depth() const override { return held_; }
  Value call(Interpreter&, const Arguments&) override;

 private:
  bool peek();  // is there another item? reads it
  int64_t total();
  bool changed(Interpreter&, const Value& values);

  const ForStatement& statement_;
  ScopePointer scope_;
  std::shared_ptr<Cursor> cursor_;
  std::optional<int64_t> length_;
  int64_t level_;
  uint32_t held_;  // depth of the iterable
  bool owned_ = false;
  std::deque<Value> ahead_;
  Value current_;
  std::optional<Value> previous_, last_checked_;
  int64_t index_ = -1;
};

}  // namespace updraft::text::jinja
