#include "checkpoint/gguf_keys.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace updraft::checkpoint {

const GgufValue* GgufKeys::find(std::string_view key) const {
  const auto found = file_.values.find(key);
  return found == file_.values.end() ? nullptr : &found->second;
}

template <class T>
const T* GgufKeys::typed(std::string_view key, const char* kind) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  const T* typed = std::get_if<T>(value);
  if (typed == nullptr) fail("{}: key {} is not {}.", where_, key, kind);
  return typed;
}

std::optional<bool> GgufKeys::boolean(std::string_view key) const {
  const bool* value = typed<bool>(key, "a boolean");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<int64_t> GgufKeys::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* list = std::get_if<std::vector<int64_t>>(value);
  if (list == nullptr) return *typed<int64_t>(key, "an integer");
  if (list->empty() || !std::all_of(list->begin(), list->end(), [&](int64_t each) { return each == list->front(); }))
    fail("{}: key {} differs from layer to layer, which is not supported.", where_, key);
  return list->front();
}

std::optional<double> GgufKeys::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* integer = std::get_if<int64_t>(value)) return double(*integer);
  const double number = *typed<double>(key, "a number");
  if (!std::isfinite(number)) fail("{}: key {} is not a finite number.", where_, key);
  return number;
}

std::optional<std::string> GgufKeys::string(std::string_view key) const {
  const std::string* value = typed<std::string>(key, "a string");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const std::vector<std::string>* GgufKeys::strings(std::string_view key) const {
  return typed<std::vector<std::string>>(key, "an array of strings");
}

const std::vector<int64_t>* GgufKeys::integers(std::string_view key) const {
  return typed<std::vector<int64_t>>(key, "an array of integers");
}

const std::vector<float>* GgufKeys::floats(std::string_view key) const {
  return typed<std::vector<float>>(key, "an array of floats");
}

int64_t GgufKeys::dimension(std::string_view key, int64_t limit) const {
  const std::optional<int64_t> value = integer(key);
  if (!value) fail("{}: key {} is missing; this GGUF file is incomplete.", where_, key);
  if (*value < 1 || *value > limit) fail("{}: key {} is {}, not between 1 and {}.", where_, key, *value, limit);
  return *value;
}

}  // namespace updraft::checkpoint
