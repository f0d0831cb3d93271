#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/integers.h"
#include "text/jinja/limits.h"
#include "text/jinja/unicode.h"

namespace updraft::text::jinja {
namespace {

constexpr size_t kSmallDict = 8;

void check_depth(uint32_t depth) {
  if (depth > kMaxValueDepth) refuse("values are nested more than {} levels deep", kMaxValueDepth);
}

void check_weight(uint64_t weight) {
  if (weight > kMaxWeight) refuse("a value holds more than {} items", kMaxWeight);
}

class SequenceCursor : public Cursor {
 public:
  explicit SequenceCursor(Value value) : value_(std::move(value)) {}
  bool next(Value& item) override {
    const std::vector<Value>& items = value_.items();
    if (position_ >= items.size()) return false;
    item = items[position_++];
    return true;
  }

 private:
  Value value_;
  size_t position_ = 0;
};

class KeyCursor : public Cursor {
 public:
  explicit KeyCursor(Value value) : value_(std::move(value)) {}
  bool next(Value& item) override {
    const auto& entries = value_.dict().entries();
    if (position_ >= entries.size()) return false;
    item = entries[position_++].first;
    return true;
  }

 private:
  Value value_;
  size_t position_ = 0;
};

class StringCursor : public Cursor {
 public:
  explicit StringCursor(Value value) : value_(std::move(value)) {}
  bool next(Value& item) override {
    const std::string& text = value_.text();
    if (position_ >= text.size()) return false;
    size_t length = character_bytes(text, position_);
    item = Value(text.substr(position_, length));
    position_ += length;
    return true;
  }

 private:
  Value value_;
  size_t position_ = 0;
};

class EmptyCursor : public Cursor {
 public:
  bool next(Value&) override { return false; }
};

template <class T>
size_t mix(size_t seed, const T& part) {
  return (seed ^ std::hash<T>{}(part)) * 0x9e3779b97f4a7c15u + (seed >> 7);
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other && equal(entry.second, *other);
  });
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return compare_integers(a, b) == 0;
  if (a.is_float() && b.is_float()) return a.real() == b.real();
  const Value& whole = a.is_float() ? b : a;
  const Value& real = a.is_float() ? a : b;
  if (whole.is_big()) return compare_with_real(whole, real.real()) == 0;
  return static_cast<long double>(whole.integer()) == static_cast<long double>(real.real());
}

bool less_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return compare_integers(a, b) < 0;
  if (a.is_big()) return compare_with_real(a, b.real()) < 0;
  if (b.is_big()) return compare_with_real(b, a.real()) > 0;
  auto wide = [](const Value& v) -> long double {
    return v.is_float() ? static_cast<long double>(v.real()) : static_cast<long double>(v.integer());
  };
  return wide(a) < wide(b);
}

}  // namespace

Sequence::Sequence(std::vector<Value> values, bool is_group) : items(std::move(values)), group(is_group) {
  uint32_t deepest = 0;
  for (const Value& item : items) {
    deepest = std::max(deepest, item.depth());
    weight += item.weight();
    check_weight(weight);
  }
  depth = deepest + 1;
  check_depth(depth);
}

Value::Value(std::string text, bool markup) {
  check_string_size(text.size());
  auto data = std::make_shared<StringData>();
  data->code_points = count_characters(text);
  data->text = std::move(text);
  data->markup = markup;
  data_ = std::shared_ptr<const StringData>(std::move(data));
}

Value Value::undefined(std::string reason) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(reason))};
  return value;
}

Value Value::list(std::vector<Value> items) {
  Value value;
  value.data_ = ListRef{std::make_shared<const Sequence>(std::move(items))};
  return value;
}

Value Value::tuple(std::vector<Value> items, bool group) {
  Value value;
  value.data_ = TupleRef{std::make_shared<const Sequence>(std::move(items), group)};
  return value;
}

Value Value::dict(Dict dict) { return Value(std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(dict)))); }

const std::string& Value::undefined_reason() const {
  static const std::string kUnknown = "value is undefined";
  const auto& reason = std::get<Undefined>(data_).reason;
  return reason ? *reason : kUnknown;
}

double Value::real() const {
  if (is_float()) return std::get<double>(data_);
  return is_big() ? to_double(*this) : static_cast<double>(integer());
}

const Sequence& Value::sequence() const {
  return is_list() ? *std::get<ListRef>(data_).data : *std::get<TupleRef>(data_).data;
}

uint32_t Value::depth() const {
  switch (kind()) {
    case Kind::kList:
    case Kind::kTuple:
      return sequence().depth;
    case Kind::kDict:
      return dict().depth();
    case Kind::kObject:
      return object()->depth();
    default:
      return 0;
  }
}

uint64_t Value::weight() const {
  switch (kind()) {
    case Kind::kBigInt: {
      const auto bits = static_cast<uint64_t>(bit_length(*this));
      return 1 + bits * bits / (1 << 13);  // to multiply it or to write it out takes quadratic time
    }
    case Kind::kString:
      return 1 + text().size() / 16;
    case Kind::kList:
    case Kind::kTuple:
      return sequence().weight;
    case Kind::kDict:
      return dict().weight();
    case Kind::kObject:
      return object()->weight();
    default:
      return 1;
  }
}

bool Value::same_as(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::kUndefined:
      return std::get<Undefined>(data_).reason == std::get<Undefined>(other.data_).reason;
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return boolean() == other.boolean();
    case Kind::kInt:
      return integer() == other.integer();
    case Kind::kBigInt:
      return &big() == &other.big();
    case Kind::kFloat:
      return real() == other.real();
    case Kind::kString:
      return text() == other.text();
    case Kind::kList:
    case Kind::kTuple:
      return &sequence() == &other.sequence();
    case Kind::kDict:
      return &dict() == &other.dict();
    case Kind::kObject:
      return object() == other.object();
  }
  return false;
}

std::optional<size_t> Dict::position(const Value& key) const {
  size_t hash = hash_of(key);
  if (entries_.size() <= kSmallDict) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (equal(entries_[i].first, key)) return i;
    }
    return std::nullopt;
  }
  auto [begin, end] = positions_.equal_range(hash);
  for (auto found = begin; found != end; ++found) {
    if (equal(entries_[found->second].first, key)) return found->second;
  }
  return std::nullopt;
}

const Value* Dict::find(const Value& key) const {
  std::optional<size_t> at = position(key);
  return at ? &entries_[*at].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (entries_.size() > kSmallDict) return find(Value(key));
  for (const auto& [name, value] : entries_) {
    if (name.is_string() && name.text() == key) return &value;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  weight_ += key.weight() + value.weight();
  check_depth(depth_);
  check_weight(weight_);
  if (std::optional<size_t> at = position(key)) {
    weight_ -= key.weight() + entries_[*at].second.weight();
    entries_[*at].second = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() == kSmallDict + 1) {
    for (size_t i = 0; i < entries_.size(); ++i) positions_.emplace(hash_of(entries_[i].first), i);
  } else if (entries_.size() > kSmallDict) {
    positions_.emplace(hash_of(entries_.back().first), entries_.size() - 1);
  }
}

void Dict::erase(std::string_view key) {
  Dict rest;
  for (auto& [name, value] : entries_) {
    if (!(name.is_string() && name.text() == key)) rest.set(name, value);
  }
  *this = std::move(rest);
}

std::string Object::representation(int) const { return fmt::format("<{} object>", type_name()); }

Value Object::call(Interpreter&, const Arguments&) { refuse("'{}' object is not callable", type_name()); }

Function::Function(std::string name, Body body, uint32_t held)
    : name_(std::move(name)), body_(std::move(body)), depth_(held + 1) {
  check_depth(depth_);
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return false;
    case Value::Kind::kBool:
      return value.boolean();
    case Value::Kind::kInt:
      return value.integer() != 0;
    case Value::Kind::kBigInt:
      return true;
    case Value::Kind::kFloat:
      return value.real() != 0.0;
    case Value::Kind::kString:
      return !value.text().empty();
    case Value::Kind::kList:
    case Value::Kind::kTuple:
      return !value.items().empty();
    case Value::Kind::kDict:
      return value.dict().size() != 0;
    case Value::Kind::kObject:
      return value.object()->truthy();
  }
  return false;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::kString:
      return a.text() == b.text();
    case Value::Kind::kList:
    case Value::Kind::kTuple:
      return &a.sequence() == &b.sequence() ||
             std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        [](const Value& x, const Value& y) { return equal(x, y); });
    case Value::Kind::kDict:
      return &a.dict() == &b.dict() || equal_dicts(a.dict(), b.dict());
    case Value::Kind::kObject:
      return a.object()->equals(*b.object());
    default:
      return true;  // None and undefined
  }
}

bool less(const Value& a, const Value& b, const char* operation) {
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (a.is_number() && b.is_number()) return less_numbers(a, b);
  if (a.is_string() && b.is_string()) return a.text() < b.text();  // UTF-8 orders as code points do
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    size_t common = std::min(a.items().size(), b.items().size());
    for (size_t i = 0; i < common; ++i) {
      if (!equal(a.items()[i], b.items()[i])) return less(a.items()[i], b.items()[i], operation);
    }
    return a.items().size() < b.items().size();
  }
  refuse("'{}' not supported between instances of '{}' and '{}'", operation, type_name(a), type_name(b));
}

size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return std::hash<int64_t>{}(value.integer());
    case Value::Kind::kBigInt:
      return hash_of_big(value);
    case Value::Kind::kFloat: {
      double real = value.real();
      bool whole = std::trunc(real) == real && real >= -0x1p63 && real < 0x1p63;
      return whole ? std::hash<int64_t>{}(static_cast<int64_t>(real)) : std::hash<double>{}(real);
    }
    case Value::Kind::kString:
      return std::hash<std::string>{}(value.text());
    case Value::Kind::kTuple: {
      size_t seed = 17;
      for (const Value& item : value.items()) seed = mix(seed, hash_of(item));
      return seed;
    }
    case Value::Kind::kList:
    case Value::Kind::kDict:
      refuse("unhashable type: '{}'", type_name(value));
    case Value::Kind::kObject:
      return std::hash<const Object*>{}(value.object().get());
    default:
      return static_cast<size_t>(value.kind());
  }
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return "Undefined";
    case Value::Kind::kNone:
      return "NoneType";
    case Value::Kind::kBool:
      return "bool";
    case Value::Kind::kInt:
    case Value::Kind::kBigInt:
      return "int";
    case Value::Kind::kFloat:
      return "float";
    case Value::Kind::kString:
      return value.is_markup() ? "Markup" : "str";
    case Value::Kind::kList:
      return "list";
    case Value::Kind::kTuple:
      return value.sequence().group ? "_GroupTuple" : "tuple";
    case Value::Kind::kDict:
      return "dict";
    case Value::Kind::kObject:
      return value.object()->type_name();
  }
  return "object";
}

std::string qualified_type_name(const Value& value) { return value.is_none() ? "None" : type_name(value) + " object"; }

std::optional<int64_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return 0;
    case Value::Kind::kString:
      return value.string().code_points;
    case Value::Kind::kList:
    case Value::Kind::kTuple:
      return static_cast<int64_t>(value.items().size());
    case Value::Kind::kDict:
      return static_cast<int64_t>(value.dict().size());
    case Value::Kind::kObject:
      return value.object()->length();
    default:
      return std::nullopt;
  }
}

std::shared_ptr<Cursor> iterate(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return std::make_shared<EmptyCursor>();
    case Value::Kind::kString:
      return std::make_shared<StringCursor>(value);
    case Value::Kind::kList:
    case Value::Kind::kTuple:
      return std::make_shared<SequenceCursor>(value);
    case Value::Kind::kDict:
      return std::make_shared<KeyCursor>(value);
    case Value::Kind::kObject:
      if (std::shared_ptr<Cursor> cursor = value.object()->iterate()) return cursor;
      break;
    default:
      break;
  }
  refuse("'{}' object is not iterable", type_name(value));
}

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kNone:
    case Value::Kind::kBool:
    case Value::Kind::kInt:
    case Value::Kind::kBigInt:
    case Value::Kind::kFloat:
      return false;
    case Value::Kind::kObject:
      return value.object()->iterate() != nullptr;
    default:
      return true;
  }
}

std::vector<Value> to_vector(const Value& value) {
  if (value.is_list() || value.is_tuple()) return value.items();
  std::vector<Value> items;
  std::shared_ptr<Cursor> cursor = iterate(value);
  uint64_t weight = 0;
  for (Value item; cursor->next(item);) {
    weight += item.weight();
    check_weight(weight);
    items.push_back(item);
  }
  return items;
}

void refuse_undefined(const Value& value) { throw TemplateError(value.undefined_reason()); }

void check_string_size(uint64_t bytes) {
  if (bytes > kMaxStringBytes) refuse("a text grew beyond {} MiB", kMaxStringBytes >> 20);
}

}  // namespace updraft::text::jinja
