// Value: what a template computes with, Python's types with Python's rules: undefined, None, bool, int, float, str,
// list, tuple, dict (insertion-ordered), and objects (functions, iterators, namespaces, ...). Lists, tuples and dicts
// are immutable, as the sandbox of transformers demands, so values form no cycles.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/template_error.h"

namespace updraft::text::jinja {

class Value;
class Dict;
class Object;
struct BigInteger;  // an int outside 64 bits (integers.h)

struct None {};

// Why a value is undefined: the message of the error that its use raises.
struct Undefined {
  std::shared_ptr<const std::string> reason;
};

struct StringData {
  std::string text;
  bool markup = false;  // already escaped for HTML (`safe`, `escape`)
  int64_t code_points = 0;
};

// The items of a list or a tuple, with their depth and weight (see limits.h) known beforehand.
struct Sequence {
  explicit Sequence(std::vector<Value> values, bool is_group = false);
  std::vector<Value> items;
  bool group = false;  // a tuple of `groupby`: has the attributes grouper and list
  uint32_t depth = 1;
  uint64_t weight = 1;
};

struct ListRef {
  std::shared_ptr<const Sequence> data;
};
struct TupleRef {
  std::shared_ptr<const Sequence> data;
};

class Value {
 public:
  enum class Kind { kUndefined, kNone, kBool, kInt, kBigInt, kFloat, kString, kList, kTuple, kDict, kObject };

  Value() = default;  // undefined, without a reason
  Value(None) : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(int value) : data_(static_cast<int64_t>(value)) {}
  Value(int64_t value) : data_(value) {}
  explicit Value(std::shared_ptr<const BigInteger> value) : data_(std::move(value)) {}
  Value(double value) : data_(value) {}
  Value(std::string text, bool markup = false);
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}
  static Value undefined(std::string reason);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items, bool group = false);
  static Value dict(Dict);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind wanted) const { return kind() == wanted; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_bool() const { return is(Kind::kBool); }
  bool is_string() const { return is(Kind::kString); }
  bool is_list() const { return is(Kind::kList); }
  bool is_tuple() const { return is(Kind::kTuple); }
  bool is_dict() const { return is(Kind::kDict); }
  bool is_object() const { return is(Kind::kObject); }
  bool is_float() const { return is(Kind::kFloat); }
  bool is_big() const { return is(Kind::kBigInt); }
  bool is_integral() const { return is_bool() || is(Kind::kInt) || is_big(); }  // Python's bool is an int
  bool is_number() const { return is_integral() || is_float(); }
  bool is_markup() const { return is_string() && string().markup; }

  // The parts; each is valid for its kind only.
  const std::string& undefined_reason() const;
  bool boolean() const { return std::get<bool>(data_); }
  // Of an int of 64 bits, or a bool.
  int64_t integer() const { return is_bool() ? (boolean() ? 1 : 0) : std::get<int64_t>(data_); }
  const BigInteger& big() const { return *std::get<std::shared_ptr<const BigInteger>>(data_); }
  double real() const;  // of any number; throws TemplateError for an int that is too large
  const StringData& string() const { return *std::get<std::shared_ptr<const StringData>>(data_); }
  const std::string& text() const { return string().text; }
  const std::vector<Value>& items() const { return sequence().items; }
  const Sequence& sequence() const;
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  const std::shared_ptr<const Dict>& dict_pointer() const { return std::get<std::shared_ptr<const Dict>>(data_); }
  const std::shared_ptr<Object>& object() const { return std::get<std::shared_ptr<Object>>(data_); }
  template <class T>
  std::shared_ptr<T> object_as() const {
    return is_object() ? std::dynamic_pointer_cast<T>(object()) : nullptr;
  }

  uint32_t depth() const;
  uint64_t weight() const;
  bool same_as(const Value& other) const;  // Python's `is`

 private:
  std::variant<Undefined, None, bool, int64_t, std::shared_ptr<const BigInteger>, double,
               std::shared_ptr<const StringData>, ListRef, TupleRef, std::shared_ptr<const Dict>,
               std::shared_ptr<Object>>
      data_;
};

// An insertion-ordered dict. Keys compare as in Python: 1, 1.0 and True are one key; a list cannot be a key.
class Dict {
 public:
  const Value* find(const Value& key) const;  // throws TemplateError for a key that cannot be hashed
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
  void erase(std::string_view key);
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  uint32_t depth() const { return depth_; }
  uint64_t weight() const { return weight_; }

 private:
  std::optional<size_t> position(const Value& key) const;
  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_multimap<size_t, size_t> positions_;  // by hash; kept once the dict is not small
  uint32_t depth_ = 1;
  uint64_t weight_ = 1;
};

// Walks over an iterable.
class Cursor {
 public:
  virtual ~Cursor() = default;
  virtual bool next(Value& item) = 0;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter;

// Everything that is not plain data.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;            // Python's: "range", "function"
  virtual std::string representation(int depth) const;  // repr(); depth: of the values around it
  virtual bool truthy() const { return true; }
  virtual std::optional<int64_t> length() const { return std::nullopt; }
  virtual std::shared_ptr<Cursor> iterate() { return nullptr; }  // null: not iterable
  virtual std::optional<Value> attribute(std::string_view) { return std::nullopt; }
  virtual std::optional<Value> item(const Value&) { return std::nullopt; }
  virtual bool indexable() const { return false; }
  virtual bool callable() const { return false; }
  virtual Value call(Interpreter&, const Arguments&);
  virtual bool equals(const Object& other) const { return this == &other; }
  virtual uint32_t depth() const { return 1; }
  virtual uint64_t weight() const { return 1; }
};

class Function : public Object {
 public:
  using Body = std::function<Value(Interpreter&, const Arguments&)>;
  // `held`: the depth of the values that the body holds on to.
  Function(std::string name, Body body, uint32_t held = 0);
  std::string type_name() const override { return "function"; }
  std::string representation(int) const override { return "<function " + name_ + ">"; }
  uint32_t depth() const override { return depth_; }
  bool callable() const override { return true; }
  Value call(Interpreter& interpreter, const Arguments& arguments) override { return body_(interpreter, arguments); }

 private:
  std::string name_;
  Body body_;
  uint32_t depth_;
};

bool truthy(const Value&);
bool equal(const Value&, const Value&);
bool less(const Value&, const Value&, const char* operation = "<");  // throws for types without an order
size_t hash_of(const Value&);
std::string type_name(const Value&);            // "str", "NoneType"
std::string qualified_type_name(const Value&);  // "str object", "None": as undefined's messages have it
std::optional<int64_t> length_of(const Value&);
std::shared_ptr<Cursor> iterate(const Value&);  // throws TemplateError: 'int' object is not iterable
bool is_iterable(const Value&);
std::vector<Value> to_vector(const Value&);
[[noreturn]] void refuse_undefined(const Value&);  // the error that using an undefined value raises
void check_string_size(uint64_t bytes);

}  // namespace updraft::text::jinja
