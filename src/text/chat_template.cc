#include "text/chat_template.h"

#include <utility>

#include "base/error.h"
#include "text/jinja/ast.h"
#include "text/jinja/from_json.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace updraft::text {

struct ChatTemplate::Impl {
  std::string source;
  std::shared_ptr<const jinja::Program> program;
};

ChatTemplate::ChatTemplate(std::string source, const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->program = jinja::parse(source, name);
  impl_->source = std::move(source);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const nlohmann::ordered_json& variables) const {
  if (!variables.is_object()) throw TemplateError("the variables of a template must be a JSON object");
  jinja::Value values = jinja::from_json(variables);
  jinja::Interpreter interpreter(*impl_->program, values.dict());
  return interpreter.run();
}

const std::string& ChatTemplate::source() const { return impl_->source; }

}  // namespace updraft::text
