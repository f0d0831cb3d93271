// updraft tokenize: text to token ids and back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
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

struct TokenizeOptions {
  std::string model, text, ids;
  bool special = false, plain = false, keep_special = false, json_lines = false, json = false, offline = false;
};

ordered_json answer_line(const text::Tokenizer& tokenizer, const ordered_json& line) {
  std::optional<std::string> text;
  std::optional<std::vector<int32_t>> ids;
  text::EncodeOptions options{.add_special = false, .parse_special = true};
  bool skip_special = false;
  for (const auto& [name, value] : line.items()) {
    if (name == "text") {
      text = session::text_value(name, value);
    } else if (name == "ids") {
      ids = session::id_list_value(name, value);
    } else if (name == "special") {
      options.add_special = session::boolean_value(name, value);
    } else if (name == "parse_special") {
      options.parse_special = session::boolean_value(name, value);
    } else if (name == "skip_special") {
      skip_special = session::boolean_value(name, value);
    }  // a line of data may carry more
  }
  if (text.has_value() == ids.has_value()) fail("a line has either \"text\" or \"ids\"");
  if (text) return {{"ids", tokenizer.encode(*text, options)}};
  for (int32_t id : *ids)
    if (id >= tokenizer.size()) fail("ids: {} is outside the vocabulary of {} tokens", id, tokenizer.size());
  return {{"text", tokenizer.decode(*ids, skip_special)}};
}

int run(const TokenizeOptions& options) {
  const auto tokenizer = session::open_tokenizer(resolve_model(options.model, options.offline));
  if (options.json_lines) {
    run_json_lines([&](const ordered_json& line) { return answer_line(*tokenizer, line); });
    return interrupted() ? kInterrupted : kSuccess;
  }
  ordered_json request = {
      {"special", options.special}, {"parse_special", !options.plain}, {"skip_special", !options.keep_special}};
  if (!options.ids.empty())
    request["ids"] = parse_ids(options.ids);
  else
    request["text"] = options.text == "-" ? read_standard_input() : options.text;
  const ordered_json answer = answer_line(*tokenizer, request);
  if (options.json) {
    fmt::print("{}\n", dump_line(answer));
  } else if (answer.contains("text")) {
    fmt::print("{}\n", answer["text"].get<std::string>());
  } else {
    const auto ids = answer["ids"].get<std::vector<int32_t>>();
    for (int32_t id : ids) fmt::print("{:>8}  {}\n", id, dump_line(tokenizer->token(id)));
    say_error("{} tokens; {}\n", ids.size(), tokenizer->description());
  }
  return kSuccess;
}

}  // namespace

void add_tokenize(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids and back");
  command->add_option("MODEL", options->model, "A model folder, a .gguf, a tokenizer.json or a tokenizer.model")
      ->required();
  add_offline_flag(*command, options->offline);
  command->add_option("TEXT", options->text, "The text; - reads standard input");
  command->add_option("--ids", options->ids, "Decode these ids (1,2,3) instead");
  command->add_flag("--special", options->special, "Add BOS/EOS as the post-processor does");
  command->add_flag("--plain", options->plain, "Text that looks like a special token is ordinary text");
  command->add_flag("--keep-special", options->keep_special, "Decoding: show special tokens");
  command->add_flag("--json", options->json, "One JSON object");
  command->add_flag(
      "--jsonl", options->json_lines,
      "One JSON object a line on standard input: {\"text\": ..., \"special\": false, \"parse_special\": true} or "
      "{\"ids\": [...], \"skip_special\": false}");
  command->footer(
      "Example:\n  updraft tokenize ./Mistral-7B-Instruct-v0.2 \"Hello, world\"\n"
      "  echo '{\"text\": \"你好\"}' | updraft tokenize ./model --jsonl");
  command->callback([options, &exit_code] {
    if (int(!options->text.empty()) + int(!options->ids.empty()) + int(options->json_lines) != 1)
      throw CLI::ValidationError("give exactly one of TEXT, --ids and --jsonl");
    exit_code = run(*options);
  });
}

}  // namespace updraft::cli
