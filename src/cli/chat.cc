// updraft chat: a conversation on the terminal. Ctrl-C stops the answer, not the program; each turn computes only what
// is new.
#include <fmt/format.h>

#include <cstdio>

#include "base/error.h"
#include "checkpoint/strict_json.h"
#include "cli/command.h"
#include "cli/environment.h"
#include "cli/line_editor.h"
#include "cli/sampling_flags.h"
#include "cli/terminal.h"
#include "session/request_settings.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct ChatOptions {
  ModelOptions model;
  SamplingFlags sampling;
  std::string system;
  bool no_history = false;
};

constexpr const char* kHelp =
    "  /clear          forget the conversation (and keep the system message)\n"
    "  /system TEXT    set the system message and forget the conversation\n"
    "  /retry          answer the last message again\n"
    "  /set NAME VALUE change a sampling setting: /set temperature 0.7; null: the model's own\n"
    "  /stats          tokens and times of the last answer\n"
    "  /help           this list\n"
    "  /exit           leave (also Ctrl-D)\n"
    "  A line that ends in \\ goes on; \"\"\" begins and ends a text of many lines. Ctrl-C stops an answer.\n";

// What is wrong with settings that `generate` would take: fields that are the conversation's own, or would show
// nothing.
std::string not_of_chat(const ordered_json& settings) {
  for (const char* name : {"prompt", "messages", "ids", "context", "add_generation_prompt"})
    if (settings.contains(name))
      return fmt::format("{}: a conversation has its own; `updraft generate` takes this field", name);
  if (settings.contains("system")) return "system: a conversation takes it from --system or /system";
  if (settings.contains("logprobs")) return "logprobs: chat does not show them; `updraft generate --json` does";
  return "";
}

class Conversation {
 public:
  Conversation(session::Session& loaded, ordered_json settings, std::string system)
      : loaded_(loaded), settings_(std::move(settings)), system_(std::move(system)) {
    clear();
  }

  void clear() {
    messages_ = ordered_json::array();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }
  void set_system(std::string text) {
    system_ = std::move(text);
    clear();
  }
  // One setting in the names of `generate --settings`, null for the model's own; throws Error when it is unknown, out
  // of range or none of a conversation's.
  void set(const std::string& name, const std::string& value) {
    ordered_json changed = settings_;
    const ordered_json json = checkpoint::parse_or_discard(value);
    if (json.is_null())
      changed.erase(name);
    else
      changed[name] = json.is_discarded() ? ordered_json(value) : json;
    if (const std::string problem = not_of_chat(changed); !problem.empty()) fail("{}", problem);
    session::TextRequest trial = loaded_.default_request();
    session::apply_settings(changed, trial);
    settings_ = std::move(changed);
  }

  void say(const std::string& message) {
    ordered_json messages = messages_;
    messages.push_back({{"role", "user"}, {"content", message}});
    answer(std::move(messages));
  }

  void retry() {
    ordered_json messages = messages_;
    while (!messages.empty() && messages.back()["role"] == "assistant") messages.erase(messages.end() - 1);
    if (messages.empty() || messages.back()["role"] != "user") fail("there is nothing to answer yet");
    answer(std::move(messages));
  }

  std::string statistics() const {
    const engine::Timings& t = last_.answer.timings;
    return fmt::format(
        "{} tokens of prompt, {} of them kept from before; {} new tokens; first after {}, then {:.1f} tokens/s, {:.1f} "
        "a step",
        last_.answer.prompt_tokens, last_.answer.cached_tokens, last_.answer.ids.size(),
        human_duration(t.time_to_first_token_s),
        t.decode_s > 0 ? (double(last_.answer.ids.size()) - 1) / t.decode_s : 0.0, last_.answer.tokens_per_step());
  }

 private:
  // What cannot be answered, because the template or the engine refuses it, leaves the conversation as it was.
  void answer(ordered_json messages) {
    session::TextRequest request = make_request(loaded_, settings_);
    request.messages = messages;
    request.context = context();  // one RoPE table for the whole conversation
    ProgressBar bar;
    request.on_text = [&](std::string_view text) {
      bar.finish();
      std::fwrite(text.data(), 1, text.size(), stdout);
      flush_output();
    };
    clear_interrupt();
    session::TextAnswer result = loaded_.generate(std::move(request), &interrupted(), [&](const Progress& reading) {
      if (reading.done < reading.total) bar.show(reading);
    });
    bar.finish();
    clear_interrupt();
    if (result.answer.finish_reason == engine::FinishReason::kError) {
      if (result.answer.prompt_tokens >= context())
        fail(
            "the conversation has {} tokens with this message, and the context holds {}: /clear begins a new one, "
            "`updraft chat --context` makes room for a longer one",
            result.answer.prompt_tokens, context());
      fail("{}", result.answer.error);
    }
    last_ = std::move(result);
    fmt::print("\n");
    if (last_.answer.finish_reason != engine::FinishReason::kEos &&
        last_.answer.finish_reason != engine::FinishReason::kStop)
      fmt::print("{}\n", styled(fmt::format("[{}]", engine::name(last_.answer.finish_reason)), Style::kDim,
                                stdout_is_terminal()));
    messages.push_back({{"role", "assistant"}, {"content", last_.text}});
    messages_ = std::move(messages);
    const int64_t used = last_.answer.prompt_tokens + int64_t(last_.answer.ids.size());
    if (used > context() - context() / 8)
      fmt::print("{}\n",
                 styled(fmt::format("[{} of {} tokens of the context are used; /clear begins anew]", used, context()),
                        Style::kYellow, stdout_is_terminal()));
  }

  int64_t context() const { return loaded_.engine().options().max_context; }

  session::Session& loaded_;
  ordered_json settings_, messages_;
  std::string system_;
  session::TextAnswer last_;
};

// One message: a line, lines joined by a trailing backslash, or a block between """ marks; the end of the input ends
// these too. Nothing at the end of the input, "" after Ctrl-C.
std::optional<std::string> read_message(LineEditor& editor) {
  const std::string first = editor.editing() ? "> " : "", more = editor.editing() ? "… " : "";
  std::optional<std::string> line = editor.read(first);
  if (!line) return std::nullopt;
  constexpr std::string_view kBlock = "\"\"\"";
  if (line->starts_with(kBlock)) {
    std::string text = line->substr(kBlock.size());
    while (!text.ends_with(kBlock)) {
      line = editor.read(more);
      if (interrupted()) return "";
      if (!line) return text;
      text += (text.empty() ? "" : "\n") + *line;
    }
    text.resize(text.size() - kBlock.size());
    return text;
  }
  std::string text = *line;
  while (text.ends_with('\\')) {
    text.back() = '\n';
    line = editor.read(more);
    if (interrupted()) return "";
    if (!line) return text;
    text += *line;
  }
  return text;
}

// False: leave.
bool obey(Conversation& conversation, const std::string& message) {
  const size_t space = message.find(' ');
  const std::string command = message.substr(0, space),
                    rest = space == std::string::npos ? "" : message.substr(space + 1);
  if (command == "/exit" || command == "/quit" || command == "/bye") return false;
  if (command == "/clear") {
    conversation.clear();
    fmt::print("{}\n", styled("[the conversation is forgotten]", Style::kDim, stdout_is_terminal()));
  } else if (command == "/system") {
    conversation.set_system(rest);
    fmt::print("{}\n", styled(rest.empty() ? "[no system message; the conversation is forgotten]"
                                           : "[a new system message; the conversation is forgotten]",
                              Style::kDim, stdout_is_terminal()));
  } else if (command == "/retry")
    conversation.retry();
  else if (command == "/stats")
    fmt::print("{}\n", conversation.statistics());
  else if (command == "/set" && rest.find(' ') != std::string::npos)
    conversation.set(rest.substr(0, rest.find(' ')), rest.substr(rest.find(' ') + 1));
  else
    fmt::print("{}", kHelp);
  return true;
}

int run(const ChatOptions& options) {
  const ordered_json settings = options.sampling.settings_json();
  if (const std::string problem = not_of_chat(settings); !problem.empty()) throw CLI::ValidationError(problem);
  session::LoadOptions load = options.model.load_options();
  load.max_sequences = 1;
  // What can be refused is refused before the weights are loaded.
  const std::string& model = options.model.model;
  if (session::open_chat_settings(model).chat_template.empty())
    fail(
        "{}: this model has no chat template (chat_template in tokenizer_config.json); `updraft generate` continues "
        "raw text",
        model);
  const auto loaded = load_session(load, false);
  Conversation conversation(*loaded, settings, options.system);
  LineEditor editor(options.no_history ? "" : environment().cache_folder + "/chat_history");
  if (editor.editing()) fmt::print("Say something; /help lists the commands, Ctrl-D leaves.\n");
  while (!terminated()) {
    const std::optional<std::string> message = read_message(editor);
    if (!message) break;
    clear_interrupt();
    if (message->find_first_not_of(" \t\n") == std::string::npos) continue;
    editor.remember(*message);
    try {
      if (message->starts_with('/')) {
        if (!obey(conversation, *message)) break;
      } else {
        conversation.say(*message);
      }
    } catch (const std::exception& e) {
      say_error("{} {}\n", styled("updraft:", Style::kRed, stderr_is_terminal()), e.what());
    }
  }
  return terminated() ? kInterrupted : kSuccess;
}

}  // namespace

void add_chat(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "A conversation on the terminal");
  options->model.add_to(*command, true);
  options->model.add_no_speculate(*command);
  options->sampling.add_to(*command);
  command->add_option("--system", options->system, "System message");
  command->add_flag("--no-history", options->no_history, "Keep no history of what you type");
  command->footer("Example:\n  updraft chat ./Mistral-7B-Instruct-v0.2 --temperature 0.7\n\nInside:\n" +
                  std::string(kHelp));
  command->callback([options, &exit_code] {
    if (options->model.model.empty())
      throw CLI::ValidationError(
          "give a MODEL: a conversation needs its tokenizer and chat template, also beside "
          "--synthetic");
    exit_code = run(*options);
  });
}

}  // namespace updraft::cli
