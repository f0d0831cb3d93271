// Filters on lists and dicts.
#include <algorithm>
#include <numeric>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/limits.h"
#include "text/jinja/methods.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

Value ignore_case(const Value& value) { return value.is_string() ? Value(to_lower(value.text())) : value; }

// "a.b.0": an attribute, then another, then an item.
class AttributePath {
 public:
  explicit AttributePath(const Value& attribute) {
    if (attribute.is_none()) return;
    if (!attribute.is_string()) {
      parts_.push_back(attribute);
      return;
    }
    const std::string& text = attribute.text();
    for (size_t begin = 0;;) {
      size_t end = std::min(text.find('.', begin), text.size());
      parts_.push_back(part(text.substr(begin, end - begin)));
      if (end == text.size()) break;
      begin = end + 1;
    }
  }

  Value get(Interpreter& interpreter, Value item, const Value& otherwise = None{}) const {
    for (const Value& part : parts_) {
      item = interpreter.item(item, part);
      if (item.is_undefined() && !otherwise.is_none()) item = otherwise;
    }
    return item;
  }

 private:
  static Value part(const std::string& text) {
    bool digits = !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos;
    return digits ? Value(static_cast<int64_t>(std::stoll(text))) : Value(text);
  }

  std::vector<Value> parts_;
};

// A key for sorting: one path, or several separated by commas.
class SortKey {
 public:
  SortKey(Interpreter& interpreter, const Value& attribute, bool case_sensitive)
      : interpreter_(interpreter), case_sensitive_(case_sensitive) {
    if (!attribute.is_string()) {
      paths_.emplace_back(attribute);
      return;
    }
    const std::string& text = attribute.text();
    for (size_t begin = 0;;) {
      size_t end = std::min(text.find(',', begin), text.size());
      paths_.emplace_back(Value(text.substr(begin, end - begin)));
      if (end == text.size()) break;
      begin = end + 1;
    }
  }

  Value of(const Value& item) const {
    std::vector<Value> keys;
    for (const AttributePath& path : paths_) {
      Value key = path.get(interpreter_, item);
      keys.push_back(case_sensitive_ ? key : ignore_case(key));
    }
    return Value::list(std::move(keys));
  }

 private:
  Interpreter& interpreter_;
  std::vector<AttributePath> paths_;
  bool case_sensitive_;
};

// Sorts the items by their keys, stable also when reversed.
std::vector<Value> sorted(Interpreter& interpreter, const std::vector<Value>& items, const std::vector<Value>& keys,
                          bool reverse) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  auto before = [&](size_t a, size_t b) {
    interpreter.spend(1);
    return reverse ? less(keys[b], keys[a]) : less(keys[a], keys[b]);
  };
  std::stable_sort(order.begin(), order.end(), before);
  std::vector<Value> out;
  out.reserve(order.size());
  for (size_t index : order) out.push_back(items[index]);
  return out;
}

Value sort(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "sort", {"reverse", "case_sensitive", "attribute"});
  SortKey key(interpreter, bound.value(2, None{}), bound.flag(1, false));
  std::vector<Value> items = to_vector(operand);
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) keys.push_back(key.of(item));
  return Value::list(sorted(interpreter, items, keys, bound.flag(0, false)));
}

Value dict_sort(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "dictsort", {"case_sensitive", "by", "reverse"});
  bool case_sensitive = bound.flag(0, false);
  std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") refuse("You can only sort by either \"key\" or \"value\"");
  if (operand.is_undefined()) refuse_undefined(operand);
  if (!operand.is_dict()) refuse("'{}' object has no attribute 'items'", type_name(operand));
  std::vector<Value> items, keys;
  for (const auto& [name, value] : operand.dict().entries()) {
    items.push_back(Value::tuple({name, value}));
    const Value& key = by == "key" ? name : value;
    keys.push_back(case_sensitive ? key : ignore_case(key));
  }
  return Value::list(sorted(interpreter, items, keys, bound.flag(2, false)));
}

Value unique(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "unique", {"case_sensitive", "attribute"});
  bool case_sensitive = bound.flag(0, false);
  AttributePath path(bound.value(1, None{}));
  std::shared_ptr<Cursor> cursor = iterate(operand);
  return make_iterator(operand, [&interpreter, cursor, path, case_sensitive, seen = Dict()](Value& item) mutable {
    while (cursor->next(item)) {
      interpreter.spend(1);
      Value key = path.get(interpreter, item);
      if (!case_sensitive) key = ignore_case(key);
      if (seen.find(key)) continue;
      seen.set(key, None{});
      return true;
    }
    return false;
  });
}

Value extreme(Interpreter& interpreter, const Value& operand, const Arguments& arguments, bool largest) {
  Bound bound(arguments, largest ? "max" : "min", {"case_sensitive", "attribute"});
  bool case_sensitive = bound.flag(0, false);
  AttributePath path(bound.value(1, None{}));
  auto key_of = [&](const Value& item) {
    Value key = path.get(interpreter, item);
    return case_sensitive ? key : ignore_case(key);
  };
  std::vector<Value> items = to_vector(operand);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  Value best = items[0];
  Value best_key = key_of(best);
  for (size_t i = 1; i < items.size(); ++i) {
    Value key = key_of(items[i]);
    if (largest ? less(best_key, key) : less(key, best_key)) {
      best = items[i];
      best_key = key;
    }
  }
  return best;
}

Value group_by(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "groupby", {"attribute", "default", "case_sensitive"}, 1);
  bool case_sensitive = bound.flag(2, false);
  AttributePath path(bound[0]);
  Value otherwise = bound.value(1, None{});
  auto key_of = [&](const Value& item) {
    Value key = path.get(interpreter, item, otherwise);
    return case_sensitive ? key : ignore_case(key);
  };
  std::vector<Value> items = to_vector(operand), keys, groups;
  for (const Value& item : items) keys.push_back(key_of(item));
  items = sorted(interpreter, items, keys, false);
  for (size_t begin = 0; begin < items.size();) {
    Value key = key_of(items[begin]);
    size_t end = begin + 1;
    while (end < items.size() && equal(key, key_of(items[end]))) ++end;
    Value shown = case_sensitive ? key : path.get(interpreter, items[begin], otherwise);
    std::vector<Value> members(items.begin() + static_cast<std::ptrdiff_t>(begin),
                               items.begin() + static_cast<std::ptrdiff_t>(end));
    groups.push_back(Value::tuple({shown, Value::list(std::move(members))}, true));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value first(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "first");
  Value item;
  return iterate(operand)->next(item) ? item : Value::undefined("No first item, sequence was empty.");
}

bool is_reversible(const Value& value) { return !value.is_object() || value.object()->length().has_value(); }

Value last(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "last");
  if (!is_reversible(operand) || !is_iterable(operand)) refuse("'{}' object is not reversible", type_name(operand));
  if (operand.is_list() || operand.is_tuple()) {
    return operand.items().empty() ? Value::undefined("No last item, sequence was empty.") : operand.items().back();
  }
  std::vector<Value> items = to_vector(operand);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value length(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "length");
  std::optional<int64_t> count = length_of(operand);
  if (!count) refuse("object of type '{}' has no len()", type_name(operand));
  return *count;
}

Value reverse(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "reverse");
  if (operand.is_string()) return slice_of(operand, None{}, None{}, Value(-1));
  if (!is_iterable(operand)) refuse("argument must be iterable");
  std::vector<Value> items = to_vector(operand);
  std::reverse(items.begin(), items.end());
  if (!is_reversible(operand)) return Value::list(std::move(items));
  std::shared_ptr<Cursor> cursor = iterate(Value::list(std::move(items)));
  return make_iterator(
      operand, [cursor](Value& item) { return cursor->next(item); }, type_name(operand) + "_reverseiterator");
}

Value to_list(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "list");
  return operand.is_list() ? operand : Value::list(to_vector(operand));
}

Value items(Interpreter&, const Value& operand, const Arguments& arguments) {
  takes_nothing(arguments, "items");
  return make_iterator(operand, [operand, position = size_t{0}](Value& item) mutable {
    if (operand.is_undefined()) return false;
    if (!operand.is_dict()) refuse("Can only get item pairs from a mapping.");
    const auto& entries = operand.dict().entries();
    if (position >= entries.size()) return false;
    item = Value::tuple({entries[position].first, entries[position].second});
    ++position;
    return true;
  });
}

Value join(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "join", {"d", "attribute"});
  std::vector<Value> items = to_vector(operand);
  if (bound.has(1) && !bound[1].is_none()) {
    AttributePath path(bound[1]);
    for (Value& item : items) item = path.get(interpreter, item);
  }
  return Value(join_texts(to_text(bound.value(0, "")), items, true));
}

Value sum(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "sum", {"attribute", "start"});
  AttributePath path(bound.value(0, None{}));
  Value total = bound.value(1, 0);
  if (total.is_string()) refuse("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : to_vector(operand)) {
    total = apply(BinaryOperator::kAdd, total, path.get(interpreter, item));
    interpreter.spend(1 + total.weight() / 8);
  }
  return total;
}

Value batch(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "batch", {"linecount", "fill_with"}, 1);
  int64_t count = bound.integer(0);
  Value fill = bound.value(1, None{});
  std::vector<Value> rows, row;
  auto flush = [&] {
    interpreter.spend(row.size());
    rows.push_back(Value::list(std::exchange(row, {})));
  };
  for (const Value& item : to_vector(operand)) {
    if (static_cast<int64_t>(row.size()) == count) flush();
    row.push_back(item);
  }
  if (!row.empty()) {
    if (!fill.is_none() && count > kMaxRange) refuse("a row of a batch is longer than {}", kMaxRange);
    while (!fill.is_none() && static_cast<int64_t>(row.size()) < count) row.push_back(fill);
    flush();
  }
  std::shared_ptr<Cursor> cursor = iterate(Value::list(std::move(rows)));
  return make_iterator(operand, [cursor](Value& item) { return cursor->next(item); }, "generator", {fill});
}

Value slice(Interpreter&, const Value& operand, const Arguments& arguments) {
  Bound bound(arguments, "slice", {"slices", "fill_with"}, 1);
  int64_t slices = bound.integer(0);
  Value fill = bound.value(1, None{});
  std::vector<Value> all = to_vector(operand), rows;
  if (slices == 0) refuse("integer division or modulo by zero");
  if (slices > kMaxRange) refuse("more than {} slices", kMaxRange);
  auto count = static_cast<int64_t>(all.size());
  int64_t position = 0;
  for (int64_t number = 0; number < slices; ++number) {
    bool extra = number < count % slices;
    int64_t end = position + count / slices + (extra ? 1 : 0);
    std::vector<Value> row(all.begin() + position, all.begin() + end);
    if (!fill.is_none() && !extra) row.push_back(fill);
    rows.push_back(Value::list(std::move(row)));
    position = end;
  }
  std::shared_ptr<Cursor> cursor = iterate(Value::list(std::move(rows)));
  return make_iterator(operand, [cursor](Value& item) { return cursor->next(item); }, "generator", {fill});
}

std::vector<Value> held_by(const Arguments& arguments) {
  std::vector<Value> held = arguments.positional;
  for (const auto& named : arguments.named) held.push_back(named.second);
  return held;
}

// map(attribute=..., default=...) or map("filter", arguments...). Lazy, as the reference's generator.
Value map(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  if (arguments.positional.empty() && !arguments.named.empty()) {
    Bound bound(arguments, "map", {"attribute", "default"});
    if (!bound.has(0)) refuse("map requires a filter argument");
    AttributePath path(bound[0]);
    Value otherwise = bound.value(1, None{});
    if (!truthy(operand)) return make_iterator(operand, [](Value&) { return false; });
    std::shared_ptr<Cursor> cursor = iterate(operand);
    return make_iterator(operand,
                         [&interpreter, cursor, path, otherwise](Value& item) {
                           if (!cursor->next(item)) return false;
                           interpreter.spend(1);
                           item = path.get(interpreter, item, otherwise);
                           return true;
                         },
                         "generator", {otherwise});
  }
  if (!truthy(operand)) return make_iterator(operand, [](Value&) { return false; });
  if (arguments.positional.empty()) refuse("map requires a filter argument");
  if (!arguments.positional[0].is_string()) refuse("No filter named {}.", representation(arguments.positional[0]));
  Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  std::shared_ptr<Cursor> cursor = iterate(operand);
  std::string name = arguments.positional[0].text();
  return make_iterator(
      operand,
      [&interpreter, cursor, name, rest](Value& item) {
        if (!cursor->next(item)) return false;
        item = interpreter.call_filter(name, item, rest);
        return true;
      },
      "generator", held_by(rest));
}

// select and its relatives: by an attribute or the item itself, by a test or by its truth.
template <bool kWanted, bool kByAttribute>
Value select(Interpreter& interpreter, const Value& operand, const Arguments& arguments) {
  if (!truthy(operand)) return make_iterator(operand, [](Value&) { return false; });
  size_t used = kByAttribute ? 1 : 0;
  if (arguments.positional.size() < used) refuse("Missing parameter for attribute name");
  AttributePath path(kByAttribute ? arguments.positional[0] : Value(None{}));
  std::optional<std::string> test;
  Arguments rest{{}, arguments.named};
  if (arguments.positional.size() > used) {
    if (!arguments.positional[used].is_string())
      refuse("No test named {}.", representation(arguments.positional[used]));
    test = arguments.positional[used].text();
    rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(used) + 1,
                           arguments.positional.end());
  }
  std::shared_ptr<Cursor> cursor = iterate(operand);
  return make_iterator(
      operand,
      [&interpreter, cursor, path, test, rest](Value& item) {
        while (cursor->next(item)) {
          interpreter.spend(1);
          Value subject = path.get(interpreter, item);
          bool holds = test ? interpreter.call_test(*test, subject, rest) : truthy(subject);
          if (holds == kWanted) return true;
        }
        return false;
      },
      "generator", held_by(rest));
}

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

constexpr NamedFilter kFilters[] = {
    {"batch", batch},
    {"count", length},
    {"dictsort", dict_sort},
    {"first", first},
    {"groupby", group_by},
    {"items", items},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", to_list},
    {"map", map},
    {"max", [](Interpreter& i, const Value& operand, const Arguments& a) { return extreme(i, operand, a, true); }},
    {"min", [](Interpreter& i, const Value& operand, const Arguments& a) { return extreme(i, operand, a, false); }},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"slice", slice},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  for (const NamedFilter& entry : kFilters) {
    if (entry.name == name) return entry.filter;
  }
  return nullptr;
}

}  // namespace updraft::text::jinja
