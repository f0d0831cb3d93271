#include "text/jinja/objects.h"

#include <algorithm>
#include <utility>

#include "text/jinja/arguments.h"
#include "text/jinja/limits.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {

// The end of a range may lie outside 64 bits; it wraps, and is only written, never used.
int64_t Range::at(int64_t position) const {
  return static_cast<int64_t>(static_cast<uint64_t>(start_) +
                              static_cast<uint64_t>(position) * static_cast<uint64_t>(step_));
}

std::string Range::representation(int) const {
  int64_t stop = at(count_);
  return step_ == 1 ? fmt::format("range({}, {})", start_, stop)
                    : fmt::format("range({}, {}, {})", start_, stop, step_);
}

std::shared_ptr<Cursor> Range::iterate() {
  return std::make_shared<FunctionCursor>([range = *this, position = int64_t{0}](Value& item) mutable {
    if (position >= range.count_) return false;
    item = range.at(position++);
    return true;
  });
}

std::optional<Value> Range::item(const Value& index) {
  if (!index.is_integral() || index.is_big()) return std::nullopt;
  int64_t position = index.integer() < 0 ? index.integer() + count_ : index.integer();
  if (position < 0 || position >= count_) return std::nullopt;
  return Value(at(position));
}

std::optional<Value> Range::attribute(std::string_view name) {
  if (name == "start") return Value(start_);
  if (name == "stop") return Value(at(count_));
  if (name == "step") return Value(step_);
  if (name != "count" && name != "index") return std::nullopt;
  bool counts = name == "count";
  return make_function(std::string(name), [range = *this, counts](Interpreter&, const Arguments& arguments) {
    Bound bound(arguments, counts ? "count" : "index", {""}, 1);
    for (int64_t i = 0; i < range.count_; ++i) {
      if (equal(Value(range.at(i)), bound[0])) return Value(counts ? int64_t{1} : i);
    }
    if (!counts) refuse("{} is not in range", jinja::representation(bound[0]));
    return Value(0);
  });
}

bool Range::equals(const Object& other) const {
  const auto* range = dynamic_cast<const Range*>(&other);
  if (!range || range->count_ != count_) return false;
  return count_ == 0 || (range->start_ == start_ && (count_ == 1 || range->step_ == step_));
}

Value Range::slice(const Value& start, const Value& stop, const Value& step) const {
  SlicePositions positions = slice_positions(count_, start, stop, step);
  auto stride = static_cast<int64_t>(static_cast<uint64_t>(step_) * static_cast<uint64_t>(positions.step));
  return Value(std::make_shared<Range>(at(positions.start), stride, positions.count));
}

std::string DictView::type_name() const {
  return part_ == Part::kKeys ? "dict_keys" : part_ == Part::kValues ? "dict_values" : "dict_items";
}

std::string DictView::representation(int depth) const {
  std::vector<Value> items;
  std::shared_ptr<Cursor> cursor = const_cast<DictView*>(this)->iterate();
  for (Value item; cursor->next(item);) items.push_back(item);
  return type_name() + "(" + jinja::representation(Value::list(std::move(items)), depth + 1) + ")";
}

std::shared_ptr<Cursor> DictView::iterate() {
  return std::make_shared<FunctionCursor>([dict = dict_, part = part_, position = size_t{0}](Value& item) mutable {
    const auto& entries = dict.dict().entries();
    if (position >= entries.size()) return false;
    const auto& [key, value] = entries[position++];
    item = part == Part::kKeys ? key : part == Part::kValues ? value : Value::tuple({key, value});
    return true;
  });
}

bool DictView::equals(const Object& other) const {
  const auto* view = dynamic_cast<const DictView*>(&other);
  if (!view || view->part_ != part_) return false;
  if (part_ == Part::kValues) return this == &other;
  if (part_ == Part::kItems) return equal(dict_, view->dict_);
  const Dict& theirs = view->dict_.dict();
  const auto& entries = dict_.dict().entries();
  return theirs.size() == entries.size() &&
         std::all_of(entries.begin(), entries.end(), [&](const auto& entry) { return theirs.find(entry.first); });
}

Iterator::Iterator(std::shared_ptr<Cursor> cursor, uint32_t depth, uint64_t weight, std::string name)
    : cursor_(std::move(cursor)), depth_(depth), weight_(weight), name_(std::move(name)) {
  if (depth_ > kMaxValueDepth) refuse("values are nested more than {} levels deep", kMaxValueDepth);
}

std::string Iterator::representation(int) const { return "<" + name_ + " object>"; }

Value make_iterator(const Value& source, std::function<bool(Value&)> next, std::string name,
                    const std::vector<Value>& held) {
  uint32_t depth = source.depth();
  for (const Value& value : held) depth = std::max(depth, value.depth());
  return Value(std::make_shared<Iterator>(std::make_shared<FunctionCursor>(std::move(next)), depth + 1, source.weight(),
                                          std::move(name)));
}

std::string Namespace::representation(int depth) const {
  if (writing_) return "<Namespace {...}>";
  struct Writing {
    bool& flag;
    explicit Writing(bool& f) : flag(f) { flag = true; }
    ~Writing() { flag = false; }
  } writing(writing_);
  return "<Namespace " + jinja::representation(Value::dict(values_), depth + 1) + ">";
}

std::optional<Value> Namespace::attribute(std::string_view name) {
  const Value* found = values_.find(name);
  return found ? std::optional<Value>(*found) : std::nullopt;
}

std::optional<Value> Namespace::item(const Value& key) {
  return key.is_string() ? attribute(key.text()) : std::nullopt;
}

void Namespace::set(std::string_view name, Value value) {
  if (value.depth() + 1 >= kMaxValueDepth) refuse("values are nested more than {} levels deep", kMaxValueDepth);
  values_.set(Value(name), std::move(value));
}

std::optional<Value> Cycler::attribute(std::string_view name) {
  if (name == "current") return items_[position_];
  if (name == "pos") return Value(static_cast<int64_t>(position_));
  if (name == "items") return held_;
  return std::nullopt;
}

Value Cycler::next() {
  Value current = items_[position_];
  position_ = (position_ + 1) % items_.size();
  return current;
}

Value Joiner::call(Interpreter&, const Arguments& arguments) {
  takes_nothing(arguments, "Joiner");
  return std::exchange(used_, true) ? separator_ : Value("");
}

}  // namespace updraft::text::jinja
