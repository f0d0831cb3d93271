#include "checkpoint/strict_json.h"

#include <cmath>
#include <fstream>
#include <sstream>
#include <unordered_set>

#include "base/error.h"

namespace updraft::checkpoint {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr int kDeepestNesting = 64;
constexpr int64_t kLargestId = INT32_MAX;

// A whole number, written 4096 or 4096.0.
std::optional<int64_t> as_integer(const json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > uint64_t(INT64_MAX)) return std::nullopt;
    return int64_t(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) <= 0x1p53 && number == std::floor(number)) return int64_t(number);
  }
  return std::nullopt;
}

}  // namespace

json parse_json(std::string_view text, const std::string& where) {
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepestNesting) fail("{}: its JSON nests deeper than {} levels.", where, kDeepestNesting);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get_ref<const std::string&>()).second)
      fail("{}: the key {} appears twice in one object.", where, show(value));
    return true;
  };
  // The parser takes a zero byte for the end of its input and would not look at what follows.
  if (text.find('\0') != std::string_view::npos)
    fail("{}: is not valid JSON (it has a zero byte): fetch it again.", where);
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    std::string what = error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    what.erase(0, what.find("] ") == std::string::npos ? 0 : what.find("] ") + 2);
    fail("{}: is not valid JSON ({}); the file may be damaged: fetch it again.", where, what);
  }
}

bool refuse_deep_nesting(int depth, ordered_json::parse_event_t, ordered_json&) {
  constexpr int kDeepest = 512;
  if (depth > kDeepest) fail("its JSON nests deeper than {} levels", kDeepest);
  return true;
}

ordered_json read_or_discard(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return parse_or_discard(text.str());
}

ordered_json parse_or_discard(std::string_view text) {
  try {
    return ordered_json::parse(text, refuse_deep_nesting, false);
  } catch (const Error&) {
    return ordered_json(ordered_json::value_t::discarded);
  }
}

std::string show(const json& value) {
  constexpr size_t kLongest = 100;
  if (value.is_structured() && value.size() > 50) return value.is_array() ? "a long list" : "a large object";
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

bool is_neutral(const json& value, std::optional<double> neutral) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0 || value.get<double>() == neutral;
  if (value.is_structured() || value.is_string()) return value.empty();
  return true;
}

JsonFields::JsonFields(const json& object, const std::string& where) : object_(object), where_(where) {
  if (!object.is_object()) fail("{}: holds {} where a JSON object is needed.", where, show(object));
}

const json* JsonFields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonFields::is_null(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

void JsonFields::refuse(const char* key, const std::string& expected) const {
  const json* value = find(key);
  fail("{}: {} is {}, but {}.", where_, key, value == nullptr ? "null or absent" : show(*value), expected);
}

std::optional<int64_t> JsonFields::integer(const char* key, int64_t smallest, int64_t largest) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = as_integer(*value);
  if (!number || *number < smallest || *number > largest)
    refuse(key, fmt::format("a whole number from {} to {} is needed", smallest, largest));
  return number;
}

std::optional<double> JsonFields::number(const char* key, double smallest, double largest) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !(value->get<double>() >= smallest && value->get<double>() <= largest))
    refuse(key, fmt::format("a number from {} to {} is needed", smallest, largest));
  return value->get<double>();
}

std::optional<bool> JsonFields::boolean(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse(key, "true or false is needed");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::text(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(key, "a string is needed");
  return value->get<std::string>();
}

std::vector<double> JsonFields::numbers(const char* key, double smallest, double largest) const {
  std::vector<double> all;
  const json* value = find(key);
  if (value == nullptr) return all;
  if (!value->is_array()) refuse(key, "a list of numbers is needed");
  for (const json& item : *value) {
    if (!item.is_number() || !(item.get<double>() >= smallest && item.get<double>() <= largest))
      refuse(key, fmt::format("a list of numbers from {} to {} is needed", smallest, largest));
    all.push_back(item.get<double>());
  }
  return all;
}

std::vector<int32_t> JsonFields::ids(const char* key) const {
  const json* value = find(key);
  return value == nullptr ? std::vector<int32_t>() : ids(*value, key);
}

std::vector<int32_t> JsonFields::ids(const json& value, const char* key) const {
  std::vector<int32_t> all;
  const auto add = [&](const json& item) {
    const std::optional<int64_t> id = as_integer(item);
    if (!id || *id > kLargestId) fail("{}: {} holds {} where a token's id is needed.", where_, key, show(item));
    if (*id >= 0) all.push_back(int32_t(*id));
  };
  if (value.is_array()) {
    for (const json& item : value) add(item);
  } else {
    add(value);
  }
  return all;
}

}  // namespace updraft::checkpoint
