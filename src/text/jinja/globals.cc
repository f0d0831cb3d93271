#include "text/jinja/globals.h"

#include <ctime>

#include "text/jinja/arguments.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/limits.h"
#include "text/jinja/methods.h"
#include "text/jinja/objects.h"
#include "text/jinja/write_value.h"

namespace updraft::text::jinja {
namespace {

Value make_range(Interpreter&, const Arguments& arguments) {
  Bound bound(arguments, "range", {"", "", ""}, 1);
  int64_t start = bound.has(1) ? bound.integer(0) : 0;
  int64_t stop = bound.integer(bound.has(1) ? 1 : 0);
  int64_t step = bound.integer(2, 1);
  if (step == 0) refuse("range() arg 3 must not be zero");
  __extension__ using Wide = __int128;
  Wide distance = step > 0 ? static_cast<Wide>(stop) - start : static_cast<Wide>(start) - stop;
  Wide magnitude = step > 0 ? static_cast<Wide>(step) : -static_cast<Wide>(step);
  Wide count = distance > 0 ? (distance + magnitude - 1) / magnitude : 0;
  if (count > kMaxRange) refuse("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  if (count <= 1) step = step > 0 ? 1 : -1;
  return Value(std::make_shared<Range>(start, step, static_cast<int64_t>(count)));
}

// dict() and namespace(): pairs or a mapping, then keywords.
Dict read_mapping(const Arguments& arguments, const char* function) {
  Dict dict;
  if (arguments.positional.size() > 1) {
    refuse("{} expected at most 1 argument, got {}", function, arguments.positional.size());
  }
  if (!arguments.positional.empty()) {
    const Value& given = arguments.positional[0];
    if (given.is_dict()) {
      dict = given.dict();
    } else {
      for (const Value& entry : to_vector(given)) {
        std::vector<Value> pair = to_vector(entry);
        if (pair.size() != 2) refuse("dictionary update sequence element has length {}; 2 is required", pair.size());
        dict.set(pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value(name), value);
  return dict;
}

Value make_dict(Interpreter&, const Arguments& arguments) { return Value::dict(read_mapping(arguments, "dict")); }

Value make_namespace(Interpreter& interpreter, const Arguments& arguments) {
  auto names = interpreter.own(std::make_shared<Namespace>());
  Dict values = read_mapping(arguments, "namespace");
  for (const auto& [key, value] : values.entries()) {
    if (key.is_string()) names->set(key.text(), value);
  }
  return Value(std::shared_ptr<Object>(names));
}

Value make_cycler(Interpreter&, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) refuse("at least one item has to be provided");
  return Value(std::make_shared<Cycler>(arguments.positional));
}

Value make_joiner(Interpreter&, const Arguments& arguments) {
  Bound bound(arguments, "joiner", {"sep"});
  return Value(std::make_shared<Joiner>(bound.value(0, ", ")));
}

Value raise_exception(Interpreter&, const Arguments& arguments) {
  Bound bound(arguments, "raise_exception", {"message"}, 1);
  throw TemplateError(to_text(bound[0]));
}

Value strftime_now(Interpreter&, const Arguments& arguments) {
  constexpr size_t kMaxDateBytes = 4096;
  Bound bound(arguments, "strftime_now", {"format"}, 1);
  std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string format = bound.text(0) + " ";  // never empty, so that 0 bytes mean failure
  std::string text(kMaxDateBytes, '\0');
  size_t bytes = std::strftime(text.data(), text.size(), format.c_str(), &local);
  if (bytes == 0) refuse("strftime_now() makes a text of more than {} bytes", kMaxDateBytes);
  text.resize(bytes - 1);
  return Value(std::move(text));
}

}  // namespace

std::optional<Value> find_global(std::string_view name) {
  if (name == "range") return make_function("range", make_range);
  if (name == "dict") return make_function("dict", make_dict);
  if (name == "namespace") return make_function("namespace", make_namespace);
  if (name == "cycler") return make_function("cycler", make_cycler);
  if (name == "joiner") return make_function("joiner", make_joiner);
  if (name == "raise_exception") return make_function("raise_exception", raise_exception);
  if (name == "strftime_now") return make_function("strftime_now", strftime_now);
  return std::nullopt;
}

}  // namespace updraft::text::jinja
