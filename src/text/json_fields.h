// Reading fields of a JSON object of which little can be trusted: a missing field has a default, a wrong type is an
// Error that names file and field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace updraft::text {

using Json = nlohmann::json;

// The field, or null when it is missing.
inline const Json& field(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

template <class Value>
Value field_or(const Json& object, const char* key, Value fallback, const std::string& file) {
  const Json& value = field(object, key);
  if (value.is_null()) return fallback;
  bool right = false;
  if constexpr (std::is_same_v<Value, bool>) {
    right = value.is_boolean();
  } else if constexpr (std::is_same_v<Value, std::string>) {
    right = value.is_string();
  } else {
    right = value.is_number_integer();
  }
  if (!right) fail("{}: the field '{}' has the wrong type ({}).", file, key, value.type_name());
  if constexpr (std::is_integral_v<Value> && !std::is_same_v<Value, bool>) {
    const int64_t number =
        value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX) ? INT64_MAX : value.get<int64_t>();
    if (number < int64_t(std::numeric_limits<Value>::min()) || number > int64_t(std::numeric_limits<Value>::max())) {
      fail("{}: the field '{}' is out of range ({}).", file, key, number);
    }
    return Value(number);
  } else {
    return value.get<Value>();
  }
}

}  // namespace updraft::text
