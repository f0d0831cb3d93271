#include "text/jinja/arguments.h"

#include <algorithm>

namespace updraft::text::jinja {

Bound::Bound(const Arguments& arguments, std::string_view function, std::initializer_list<std::string_view> parameters,
             size_t required)
    : function_(function), values_(parameters.size(), nullptr) {
  if (arguments.positional.size() > parameters.size()) {
    refuse("{}() takes at most {} arguments ({} given)", function, parameters.size(), arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) refuse("{}() got an unexpected keyword argument '{}'", function, name);
    auto index = static_cast<size_t>(found - parameters.begin());
    if (values_[index]) refuse("{}() got multiple values for argument '{}'", function, name);
    values_[index] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i]) refuse("{}() is missing its argument {}", function, i + 1);
  }
}

int64_t Bound::integer(size_t index, int64_t otherwise) const {
  return has(index) ? to_index(*values_[index]) : otherwise;
}

const std::string& Bound::text(size_t index) const {
  const Value& value = *values_[index];
  if (value.is_undefined()) refuse_undefined(value);
  if (!value.is_string()) refuse("{}() argument must be str, not {}", function_, type_name(value));
  return value.text();
}

std::string Bound::text(size_t index, std::string_view otherwise) const {
  return has(index) ? text(index) : std::string(otherwise);
}

int64_t to_index(const Value& value) {
  if (value.is_undefined()) refuse_undefined(value);
  if (!value.is_integral()) refuse("'{}' object cannot be interpreted as an integer", type_name(value));
  if (value.is_big()) refuse("cannot fit 'int' into an index-sized integer");
  return value.integer();
}

}  // namespace updraft::text::jinja
