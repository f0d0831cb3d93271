// load_chat_settings (declared in chat_template.h): where a model folder keeps its templates and special tokens.
#include <algorithm>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/read_file.h"
#include "text/tokenizer_config.h"

namespace updraft::text {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

// "chat_template" of tokenizer_config.json: one template, or a list of named ones.
void read_config_templates(const Json& config, const fs::path& path, ChatSettings& settings) {
  auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return;
  if (found->is_string()) {
    settings.chat_template = found->get<std::string>();
    settings.source = fmt::format("chat_template of {}", path.string());
    return;
  }
  if (!found->is_array()) fail("The field chat_template of {} is neither a string nor a list.", path.string());
  for (const Json& entry : *found) {
    bool named = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                 entry.contains("template") && entry["template"].is_string();
    if (!named) fail("An entry of chat_template in {} lacks its name or its template.", path.string());
    std::string name = entry["name"].get<std::string>();
    const std::string source = fmt::format("chat_template \"{}\" of {}", name, path.string());
    if (name == "default") settings.chat_template = entry["template"].get<std::string>(), settings.source = source;
    if (name == "tool_use")
      settings.tool_template = entry["template"].get<std::string>(), settings.tool_source = source;
  }
}

void read_template_files(const fs::path& folder, ChatSettings& settings) {
  fs::path main = folder / "chat_template.jinja";
  if (fs::exists(main)) {
    settings.chat_template = read_file(main);
    settings.source = main.string();
    settings.tool_template.clear();
  }
  fs::path tools = folder / "additional_chat_templates" / "tool_use.jinja";
  if (fs::exists(tools)) settings.tool_template = read_file(tools), settings.tool_source = tools.string();
}

// A token is a string, or {"content": "...", ...} as an added token is written.
void read_token(const std::string& name, const Json& value, ordered_json& tokens) {
  const Json& token = value.is_object() ? field(value, "content") : value;
  if (token.is_string()) tokens[name] = token.get<std::string>();
}

void read_tokens(const Json& config, ordered_json& tokens) {
  for (const auto& [key, value] : config.items()) {
    if (key.size() > 6 && key.ends_with("_token")) read_token(key, value, tokens);
    if (key == "extra_special_tokens" && value.is_object()) {
      for (const auto& [name, token] : value.items()) read_token(name, token, tokens);
    }
  }
}

}  // namespace

ordered_json ChatSettings::variables() const {
  ordered_json all = special_tokens.is_null() ? ordered_json::object() : special_tokens;
  all["tools"] = nullptr;
  all["documents"] = nullptr;
  return all;
}

bool ChatSettings::takes_tool_template(const ordered_json& variables) const {
  const auto tools = variables.find("tools");
  return !tool_template.empty() && tools != variables.end() && !tools->is_null();
}

ChatSettings load_chat_settings(const fs::path& folder) {
  ChatSettings settings;
  const TokenizerConfig files = load_tokenizer_config(folder);
  read_config_templates(files.config, folder / "tokenizer_config.json", settings);
  read_template_files(folder, settings);
  settings.special_tokens = ordered_json::object();
  std::vector<const Json*> naming = files.naming_files();
  std::reverse(naming.begin(), naming.end());  // the first to count comes last
  for (const Json* file : naming) read_tokens(*file, settings.special_tokens);
  return settings;
}

}  // namespace updraft::text
