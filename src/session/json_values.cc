#include "session/json_values.h"

#include <limits>

#include "base/error.h"

namespace updraft::session {

using nlohmann::ordered_json;

double number_value(const std::string& name, const ordered_json& value, double low, double high) {
  if (!value.is_number()) fail("{}: a number is expected, not {}", name, value.dump());
  const double x = value.get<double>();
  if (!(x >= low && x <= high)) fail("{}: {} is outside [{}, {}]", name, value.dump(), low, high);
  return x;
}

int64_t integer_value(const std::string& name, const ordered_json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) fail("{}: a whole number is expected, not {}", name, value.dump());
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max()))
    fail("{}: {} is too large", name, value.dump());
  const int64_t x = value.get<int64_t>();
  if (x < low || x > high) fail("{}: {} is outside [{}, {}]", name, x, low, high);
  return x;
}

bool boolean_value(const std::string& name, const ordered_json& value) {
  if (!value.is_boolean()) fail("{}: true or false is expected, not {}", name, value.dump());
  return value.get<bool>();
}

std::string text_value(const std::string& name, const ordered_json& value) {
  if (!value.is_string()) fail("{}: a string is expected, not {}", name, value.dump());
  return value.get<std::string>();
}

std::vector<int32_t> id_list_value(const std::string& name, const ordered_json& value) {
  if (!value.is_array()) fail("{}: a list of token ids is expected, not {}", name, value.dump());
  std::vector<int32_t> ids;
  ids.reserve(value.size());
  for (const ordered_json& id : value) ids.push_back(int32_t(integer_value(name, id, 0, kMaxId)));
  return ids;
}

}  // namespace updraft::session
