#include "text/jinja/methods.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "text/jinja/arguments.h"
#include "text/jinja/integers.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

template <size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool changes(const Value& object, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kList = {"append", "clear", "pop",    "reverse",
                                                            "insert", "sort",  "extend", "remove"};
  static constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem", "setdefault", "update"};
  return (object.is_list() && is_one_of(name, kList)) || (object.is_dict() && is_one_of(name, kDict));
}

bool is_internal(std::string_view name) {
  static constexpr std::array<std::string_view, 14> kNames = {
      "__class__", "__doc__", "__init__", "__dict__", "__module__", "__repr__",   "__str__",
      "__len__",   "__eq__",  "__hash__", "__new__",  "__dir__",    "__format__", "__getattribute__"};
  return is_one_of(name, kNames);
}

std::optional<Value> dict_method(const Value& self, std::string_view name) {
  using Part = DictView::Part;
  if (name == "items" || name == "keys" || name == "values") {
    Part part = name == "items" ? Part::kItems : name == "keys" ? Part::kKeys : Part::kValues;
    return make_function(
        std::string(name),
        [self, part, label = std::string(name)](Interpreter&, const Arguments& a) {
          takes_nothing(a, label);
          return Value(std::make_shared<DictView>(self, part));
        },
        self.depth());
  }
  if (name == "get") {
    return make_function(
        "get",
        [self](Interpreter&, const Arguments& a) {
          Bound bound(a, "get", {"", ""}, 1);
          const Value* found = self.dict().find(bound[0]);
          return found ? *found : bound.value(1, None{});
        },
        self.depth());
  }
  if (name == "copy") {
    return make_function(
        "copy",
        [self](Interpreter&, const Arguments& a) {
          takes_nothing(a, "copy");
          return self;
        },
        self.depth());
  }
  if (name == "fromkeys") {
    return make_function("fromkeys", [](Interpreter&, const Arguments& a) {
      Bound bound(a, "fromkeys", {"", ""}, 1);
      Dict dict;
      for (const Value& key : to_vector(bound[0])) dict.set(key, bound.value(1, None{}));
      return Value::dict(std::move(dict));
    });
  }
  return std::nullopt;
}

std::optional<Value> sequence_method(const Value& self, std::string_view name) {
  if (self.is_tuple() && self.sequence().group && self.items().size() == 2) {
    if (name == "grouper") return self.items()[0];
    if (name == "list") return self.items()[1];
  }
  if (name == "count") {
    return make_function(
        "count",
        [self](Interpreter&, const Arguments& a) {
          Bound bound(a, "count", {""}, 1);
          return Value(static_cast<int64_t>(std::count_if(self.items().begin(), self.items().end(),
                                                          [&](const Value& item) { return equal(item, bound[0]); })));
        },
        self.depth());
  }
  if (name == "index") {
    return make_function(
        "index",
        [self](Interpreter&, const Arguments& a) {
          Bound bound(a, "index", {"", "", ""}, 1);
          SlicePositions window = slice_positions(static_cast<int64_t>(self.items().size()), bound.value(1, None{}),
                                                  bound.value(2, None{}), None{});
          for (int64_t i = window.start; i < window.start + window.count; ++i) {
            if (equal(self.items()[static_cast<size_t>(i)], bound[0])) return Value(i);
          }
          refuse("{} is not in {}", representation(bound[0]), type_name(self));
        },
        self.depth());
  }
  if (name == "copy" && self.is_list()) {
    return make_function(
        "copy",
        [self](Interpreter&, const Arguments& a) {
          takes_nothing(a, "copy");
          return self;
        },
        self.depth());
  }
  return std::nullopt;
}

std::optional<Value> number_attribute(const Value& self, std::string_view name) {
  const auto plain = [](const Value& number) { return number.is_bool() ? Value(number.integer()) : number; };
  if (name == "real") return plain(self);
  if (name == "imag") return self.is_float() ? Value(0.0) : Value(0);
  if (self.is_integral() && name == "numerator") return plain(self);
  if (self.is_integral() && name == "denominator") return Value(1);
  if (name == "conjugate") return make_function("conjugate", [self](Interpreter&, const Arguments&) { return self; });
  if (self.is_integral() && name == "bit_length") {
    return make_function("bit_length", [self](Interpreter&, const Arguments& a) {
      takes_nothing(a, "bit_length");
      return Value(bit_length(self));
    });
  }
  if (self.is_float() && name == "is_integer") {
    return make_function("is_integer", [self](Interpreter&, const Arguments& a) {
      takes_nothing(a, "is_integer");
      return Value(std::isfinite(self.real()) && std::floor(self.real()) == self.real());
    });
  }
  return std::nullopt;
}

}  // namespace

Value make_function(std::string name, Function::Body body, uint32_t held) {
  return Value(std::make_shared<Function>(std::move(name), std::move(body), held));
}

std::optional<Value> find_attribute(Interpreter&, const Value& object, std::string_view name) {
  if (object.is_undefined()) return std::nullopt;
  if (is_internal(name) || changes(object, name)) {
    return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
  }
  if (object.is_string()) {
    Method method = find_string_method(name);
    if (!method) return std::nullopt;
    return make_function(std::string(name), [object, method](Interpreter& interpreter, const Arguments& arguments) {
      return method(interpreter, object, arguments);
    });
  }
  if (object.is_dict()) return dict_method(object, name);
  if (object.is_list() || object.is_tuple()) return sequence_method(object, name);
  if (object.is_number()) return number_attribute(object, name);
  if (std::shared_ptr<Cycler> cycler = object.object_as<Cycler>(); cycler && (name == "next" || name == "reset")) {
    bool is_next = name == "next";
    return make_function(
        std::string(name),
        [cycler, is_next](Interpreter&, const Arguments& a) {
          takes_nothing(a, "cycler");
          if (is_next) return cycler->next();
          cycler->reset();
          return Value(None{});
        },
        cycler->depth());
  }
  return object.is_object() ? object.object()->attribute(name) : std::nullopt;
}

}  // namespace updraft::text::jinja
