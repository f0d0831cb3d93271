#include "text/jinja/from_json.h"

#include <string>

#include "text/jinja/integers.h"
#include "text/jinja/limits.h"

namespace updraft::text::jinja {
namespace {

Value convert(const nlohmann::ordered_json& json, uint32_t depth) {
  using Kind = nlohmann::ordered_json::value_t;
  if (depth > kMaxValueDepth) refuse("the variables are nested more than {} levels deep", kMaxValueDepth);
  switch (json.type()) {
    case Kind::boolean:
      return json.get<bool>();
    case Kind::number_integer:
      return json.get<int64_t>();
    case Kind::number_unsigned: {
      uint64_t value = json.get<uint64_t>();
      return read_integer(std::to_string(value), 10, false);
    }
    case Kind::number_float:
      return json.get<double>();
    case Kind::string:
      return json.get_ref<const std::string&>();
    case Kind::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(convert(item, depth + 1));
      return Value::list(std::move(items));
    }
    case Kind::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) dict.set(Value(key), convert(value, depth + 1));
      return Value::dict(std::move(dict));
    }
    default:
      return None{};
  }
}

}  // namespace

Value from_json(const nlohmann::ordered_json& json) { return convert(json, 0); }

}  // namespace updraft::text::jinja
