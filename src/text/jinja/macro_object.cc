#include "text/jinja/macro_object.h"

#include <algorithm>

#include "text/jinja/write_value.h"

namespace updraft::text::jinja {

std::string MacroObject::representation(int) const {
  return macro_->name.empty() ? "<Macro anonymous>" : "<Macro " + quoted_text(macro_->name) + ">";
}

std::optional<Value> MacroObject::attribute(std::string_view name) {
  if (name == "name") return macro_->name.empty() ? Value(None{}) : Value(macro_->name);
  if (name == "caller") return Value(macro_->uses_caller);
  if (name == "catch_kwargs") return Value(macro_->uses_kwargs);
  if (name == "catch_varargs") return Value(macro_->uses_varargs);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const Parameter& parameter : macro_->parameters) names.emplace_back(parameter.text);
    return Value::tuple(std::move(names));
  }
  return std::nullopt;
}

MacroBinding bind_macro(const MacroDefinition& macro, const Arguments& given) {
  MacroBinding binding;
  binding.values.resize(macro.parameters.size());
  size_t taken = std::min(given.positional.size(), macro.parameters.size());
  for (size_t i = 0; i < taken; ++i) binding.values[i] = given.positional[i];
  Dict rest;
  std::optional<Value> caller;
  for (const auto& argument : given.named) {
    const std::string& name = argument.first;
    const Value& value = argument.second;
    auto parameter = std::find_if(macro.parameters.begin() + static_cast<std::ptrdiff_t>(taken), macro.parameters.end(),
                                  [&](const Parameter& candidate) { return candidate.text == name; });
    if (parameter != macro.parameters.end()) {
      binding.values[static_cast<size_t>(parameter - macro.parameters.begin())] = value;
    } else if (name == "caller" && macro.uses_caller && !macro.caller_is_parameter) {
      caller = value;
    } else if (macro.uses_kwargs) {
      rest.set(Value(name), value);
    } else {
      refuse("macro {} takes no keyword argument {}", quoted_text(macro.name), quoted_text(name));
    }
  }
  if (given.positional.size() > taken && !macro.uses_varargs) {
    refuse("macro {} takes not more than {} argument(s)", quoted_text(macro.name), macro.parameters.size());
  }
  binding.caller = caller ? *caller : Value::undefined("No caller defined");
  binding.kwargs = Value::dict(std::move(rest));
  binding.varargs =
      Value::tuple({given.positional.begin() + static_cast<std::ptrdiff_t>(taken), given.positional.end()});
  return binding;
}

}  // namespace updraft::text::jinja
