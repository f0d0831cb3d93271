// The objects of the template language that are not plain data: range, dict views, lazy iterators, namespace, cycler,
// joiner.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

class Range : public Object {
 public:
  Range(int64_t start, int64_t step, int64_t count) : start_(start), step_(step), count_(count) {}
  std::string type_name() const override { return "range"; }
  std::string representation(int depth) const override;
  bool truthy() const override { return count_ > 0; }
  std::optional<int64_t> length() const override { return count_; }
  std::shared_ptr<Cursor> iterate() override;
  std::optional<Value> item(const Value& index) override;
  std::optional<Value> attribute(std::string_view name) override;
  bool indexable() const override { return true; }
  bool equals(const Object& other) const override;
  uint64_t weight() const override { return 1 + static_cast<uint64_t>(count_); }
  Value slice(const Value& start, const Value& stop, const Value& step) const;
  int64_t at(int64_t position) const;

 private:
  int64_t start_, step_, count_;
};

// dict.keys(), dict.values(), dict.items().
class DictView : public Object {
 public:
  enum class Part { kKeys, kValues, kItems };
  DictView(Value dict, Part part) : dict_(std::move(dict)), part_(part) {}
  std::string type_name() const override;
  std::string representation(int depth) const override;
  bool truthy() const override { return dict_.dict().size() > 0; }
  std::optional<int64_t> length() const override { return static_cast<int64_t>(dict_.dict().size()); }
  std::shared_ptr<Cursor> iterate() override;
  bool equals(const Object& other) const override;
  uint32_t depth() const override { return dict_.depth() + 1; }
  uint64_t weight() const override { return dict_.weight(); }

 private:
  Value dict_;
  Part part_;
};

// What Python's generators and iterators are: walked over once.
class Iterator : public Object {
 public:
  Iterator(std::shared_ptr<Cursor> cursor, uint32_t depth, uint64_t weight, std::string name = "generator");
  std::string type_name() const override { return name_; }
  std::string representation(int depth) const override;
  std::shared_ptr<Cursor> iterate() override { return cursor_; }
  uint32_t depth() const override { return depth_; }
  uint64_t weight() const override { return weight_; }

 private:
  std::shared_ptr<Cursor> cursor_;
  uint32_t depth_;
  uint64_t weight_;
  std::string name_;
};

// A cursor made of a function: true and the next item, or false.
class FunctionCursor : public Cursor {
 public:
  explicit FunctionCursor(std::function<bool(Value&)> next) : next_(std::move(next)) {}
  bool next(Value& item) override { return next_(item); }

 private:
  std::function<bool(Value&)> next_;
};

// An iterator over `source`; `held`: the other values that its function holds on to.
Value make_iterator(const Value& source, std::function<bool(Value&)> next, std::string name = "generator",
                    const std::vector<Value>& held = {});

// The one thing that a template can change: {% set ns.x = ... %}.
class Namespace : public Object {
 public:
  std::string type_name() const override { return "Namespace"; }
  std::string representation(int depth) const override;
  std::optional<Value> attribute(std::string_view name) override;
  std::optional<Value> item(const Value& key) override;
  void set(std::string_view name, Value value);
  void clear() { values_ = Dict(); }

 private:
  Dict values_;
  mutable bool writing_ = false;  // it may hold itself
};

class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)), held_(Value::tuple(items_)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(std::string_view name) override;
  Value next();
  void reset() { position_ = 0; }
  uint32_t depth() const override { return held_.depth(); }

 private:
  std::vector<Value> items_;
  Value held_;
  size_t position_ = 0;
};

class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Interpreter&, const Arguments&) override;
  uint32_t depth() const override { return separator_.depth() + 1; }

 private:
  Value separator_;
  bool used_ = false;
};

}  // namespace updraft::text::jinja
