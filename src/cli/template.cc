// updraft template: messages to the prompt that the model's chat template makes of them.
#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <optional>

#include "base/error.h"
#include "cli/command.h"
#include "cli/hub_options.h"
#include "cli/json_lines.h"
#include "cli/terminal.h"
#include "session/json_values.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct TemplateOptions {
  std::string model, message, system;
  bool json_lines = false, show = false, no_generation_prompt = false, offline = false;
};

class Renderer {
 public:
  explicit Renderer(const std::string& model) : model_(model) {
    if (model != "-") settings_ = session::open_chat_settings(model);
    if (settings_.special_tokens.is_null()) settings_.special_tokens = ordered_json::object();
  }

  const std::string& source() const { return settings_.chat_template; }

  std::string render(const ordered_json& line) {
    // The model's own template finds what transformers gives it and is asked for what `generate --chat` would send; a
    // line's template gets the model's special tokens and what the line says.
    const bool own = !line.contains("template");
    ordered_json variables = own ? settings_.variables() : settings_.special_tokens;
    std::string source = settings_.chat_template, name = settings_.source;
    for (const auto& [field, value] : line.items()) {
      if (field == "template")
        source = session::text_value("template", value), name = "of this line";
      else
        variables[field] = value;
    }
    if (line.contains("messages") && !line["messages"].is_array())
      fail("messages: a list of {{\"role\", \"content\"}} is expected, not {}", line["messages"].dump());
    if (own && !variables.contains("add_generation_prompt")) variables["add_generation_prompt"] = true;
    if (own && settings_.takes_tool_template(variables)) source = settings_.tool_template, name = settings_.tool_source;
    if (own && source.empty())
      fail(
          "{}: there is no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); give one as "
          "\"template\" of a line of --jsonl",
          model_);
    return compiled(source, name).render(variables);
  }

 private:
  // The same template line after line is parsed once.
  const text::ChatTemplate& compiled(const std::string& source, const std::string& name) {
    if (!last_ || last_->source() != source) last_.emplace(source, name);
    return *last_;
  }

  std::string model_;
  text::ChatSettings settings_;
  std::optional<text::ChatTemplate> last_;
};

int run(const TemplateOptions& options) {
  Renderer renderer(resolve_model(options.model, options.offline));
  if (options.json_lines) {
    run_json_lines([&](const ordered_json& line) -> ordered_json { return {{"prompt", renderer.render(line)}}; });
    return interrupted() ? kInterrupted : kSuccess;
  }
  if (options.show) {
    fmt::print("{}\n", renderer.source());
    return kSuccess;
  }
  ordered_json messages = ordered_json::array();
  if (!options.system.empty()) messages.push_back({{"role", "system"}, {"content", options.system}});
  messages.push_back({{"role", "user"}, {"content", options.message}});
  fmt::print("{}\n",
             renderer.render({{"messages", messages}, {"add_generation_prompt", !options.no_generation_prompt}}));
  return kSuccess;
}

}  // namespace

void add_template(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<TemplateOptions>();
  CLI::App* command = app.add_subcommand("template", "Messages to a prompt, by the model's chat template");
  command->add_option("MODEL", options->model, "A model folder or a .gguf; - when every line brings its own template")
      ->required();
  add_offline_flag(*command, options->offline);
  command->add_option("MESSAGE", options->message, "What the user says");
  command->add_option("--system", options->system, "A system message before it");
  command->add_flag("--no-generation-prompt", options->no_generation_prompt, "add_generation_prompt = false");
  command->add_flag("--show", options->show, "Print the template itself");
  command->add_flag(
      "--jsonl", options->json_lines,
      "One JSON object a line: {\"messages\": [...], \"tools\": ..., \"template\": \"...\", any other variable}");
  command->footer("Example:\n  updraft template ./Mistral-7B-Instruct-v0.2 \"Who are you?\"");
  command->callback([options, &exit_code] {
    if (int(!options->message.empty()) + int(options->show) + int(options->json_lines) != 1)
      throw CLI::ValidationError("give exactly one of MESSAGE, --show and --jsonl");
    if (options->message.empty() && (!options->system.empty() || options->no_generation_prompt))
      throw CLI::ValidationError(
          "--system and --no-generation-prompt belong to MESSAGE (a line of --jsonl has \"messages\" and "
          "\"add_generation_prompt\")");
    exit_code = run(*options);
  });
}

}  // namespace updraft::cli
