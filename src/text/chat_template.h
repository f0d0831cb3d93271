// ChatTemplate: messages to the prompt a model was trained on, by the model's own Jinja2 template, as transformers'
// apply_chat_template does. Sandboxed: bounded steps, depth and output. The prompt is encoded with add_special = false,
// for the template writes BOS itself.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "text/jinja/template_error.h"

namespace updraft::text {

class ChatTemplate {
 public:
  // Throws Error with line and column for a template that does not parse.
  explicit ChatTemplate(std::string source, const std::string& name = "chat_template");
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // `variables`: {"messages": [...], "tools": ..., "add_generation_prompt": true, "bos_token": "<s>", ...}. Order of
  // keys is kept. Throws TemplateError.
  std::string render(const nlohmann::ordered_json& variables) const;
  const std::string& source() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What a folder says about chatting: its template(s) and the special tokens as template variables.
struct ChatSettings {
  std::string chat_template;              // default template; empty: the model has none
  std::string tool_template;              // the one named tool_use, or empty
  std::string source, tool_source;        // where each was found, for messages
  nlohmann::ordered_json special_tokens;  // {"bos_token": "<s>", "eos_token": "</s>", ...}

  // What every template finds defined, as in transformers: the special tokens, and `tools` and `documents` as none.
  nlohmann::ordered_json variables() const;

  // Whether these variables go to tool_template, as in transformers: where `tools` is not none, be it an empty
  // list, and the model has one.
  bool takes_tool_template(const nlohmann::ordered_json& variables) const;
};
ChatSettings load_chat_settings(const std::filesystem::path& folder);

}  // namespace updraft::text
