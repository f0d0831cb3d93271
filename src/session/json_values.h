// Values of a JSON object from outside, a line, a request or a file: each throws Error that begins with the field's
// name when the value is of another type or out of range.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace updraft::session {

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

double number_value(const std::string& name, const nlohmann::ordered_json&, double low, double high);
int64_t integer_value(const std::string& name, const nlohmann::ordered_json&, int64_t low, int64_t high);
bool boolean_value(const std::string& name, const nlohmann::ordered_json&);
std::string text_value(const std::string& name, const nlohmann::ordered_json&);
std::vector<int32_t> id_list_value(const std::string& name, const nlohmann::ordered_json&);

}  // namespace updraft::session
