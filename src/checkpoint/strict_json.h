// Reading the JSON of model files with care: duplicate keys and deep nesting are refused, and every field is taken by
// name, type and range, so that a wrong file ends in one sentence that names file and field.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace updraft::checkpoint {

// Throws Error for what is not one JSON text in UTF-8, has an object with the same key twice, or nests deeper than 64.
nlohmann::json parse_json(std::string_view text, const std::string& where);

// JSON of requests, servers and records, with the order of its keys: discarded where it is none, or nests so deep that
// to copy it or to write it out, by recursion, would take the stack.
nlohmann::ordered_json parse_or_discard(std::string_view text);
nlohmann::ordered_json read_or_discard(const std::filesystem::path&);  // also where nothing can be read
// The parser's callback that throws Error for nesting as deep as that.
bool refuse_deep_nesting(int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json&);

// A JSON value as a message shows it: at most a line's worth.
std::string show(const nlohmann::json&);

// true when a setting of this value changes nothing: null, false, 0, empty, or the number `neutral`.
bool is_neutral(const nlohmann::json&, std::optional<double> neutral);

// An object whose fields are read one by one. Absent and null are the same unless said otherwise.
class JsonFields {
 public:
  // Borrows both. Throws Error when `object` is no object.
  JsonFields(const nlohmann::json& object, const std::string& where);

  bool has(const char* key) const { return find(key) != nullptr; }  // there, and not null
  bool is_null(const char* key) const;                              // there, and null
  const nlohmann::json* find(const char* key) const;                // null pointer: absent or null

  std::optional<int64_t> integer(const char* key, int64_t smallest, int64_t largest) const;
  std::optional<double> number(const char* key, double smallest, double largest) const;  // finite
  std::optional<bool> boolean(const char* key) const;
  std::optional<std::string> text(const char* key) const;
  std::vector<double> numbers(const char* key, double smallest, double largest) const;
  // An id or a list of ids; negative ones, which some files write for "none", are left out.
  std::vector<int32_t> ids(const char* key) const;
  std::vector<int32_t> ids(const nlohmann::json& value, const char* key) const;

  // Throws the Error "<where>: <key> is <value>, but <expected>."
  [[noreturn]] void refuse(const char* key, const std::string& expected) const;

 private:
  const nlohmann::json& object_;
  const std::string& where_;
};

}  // namespace updraft::checkpoint
