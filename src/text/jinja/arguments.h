// Binds a call's arguments to parameters as Python does, with Python's errors.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace updraft::text::jinja {

class Bound {
 public:
  // A parameter whose name is empty takes positional arguments only. The first `required` must be given.
  Bound(const Arguments&, std::string_view function, std::initializer_list<std::string_view> parameters,
        size_t required = 0);

  bool has(size_t index) const { return values_[index] != nullptr; }
  const Value& operator[](size_t index) const { return *values_[index]; }
  Value value(size_t index, const Value& otherwise) const { return has(index) ? *values_[index] : otherwise; }
  bool flag(size_t index, bool otherwise) const { return has(index) ? truthy(*values_[index]) : otherwise; }
  int64_t integer(size_t index, int64_t otherwise = 0) const;  // refuses what is not an int
  const std::string& text(size_t index) const;                 // refuses what is not a str
  std::string text(size_t index, std::string_view otherwise) const;

 private:
  std::string function_;
  std::vector<const Value*> values_;
};

// Refuses any argument.
inline void takes_nothing(const Arguments& arguments, std::string_view function) {
  [[maybe_unused]] const Bound none(arguments, function, {});
}

int64_t to_index(const Value&);  // Python's operator.index: bool and int only

}  // namespace updraft::text::jinja
