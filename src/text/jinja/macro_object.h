// A macro as a value, and Jinja's rules for its arguments.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/jinja/interpreter.h"

namespace updraft::text::jinja {

class MacroObject : public Object {
 public:
  MacroObject(std::shared_ptr<const MacroDefinition> macro, ScopePointer scope)
      : macro_(std::move(macro)), scope_(std::move(scope)) {}
  std::string type_name() const override { return "Macro"; }
  std::string representation(int depth) const override;
  std::optional<Value> attribute(std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Interpreter& interpreter, const Arguments& arguments) override {
    return interpreter.call_macro(*macro_, scope_, arguments);
  }

 private:
  std::shared_ptr<const MacroDefinition> macro_;
  ScopePointer scope_;
};

struct MacroBinding {
  std::vector<std::optional<Value>> values;  // by parameter
  Value caller, kwargs, varargs;
};
MacroBinding bind_macro(const MacroDefinition&, const Arguments&);

}  // namespace updraft::text::jinja
