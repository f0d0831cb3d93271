// updraft logits: the logits of every position of a sequence of token ids, as a float32 .npy file.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "cli/npy.h"
#include "cli/terminal.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct LogitsOptions {
  ModelOptions model;
  std::string ids, prompt, output;
  int64_t chunk = 0;
  bool json = false;
};

// The one that `generate` would use: synthetic weights without a model's tokenizer have a vocabulary of bytes.
std::unique_ptr<text::Tokenizer> open_tokenizer(const session::LoadOptions& load) {
  if (!load.model.empty()) return session::open_tokenizer(load.model);
  return text::make_byte_tokenizer(session::open_model(load)->config().vocabulary_size);
}

int run(const LogitsOptions& options) {
  session::LoadOptions load = options.model.load_options();
  const std::vector<int32_t> ids = options.prompt.empty()
                                       ? parse_ids(options.ids)
                                       : open_tokenizer(load)->encode(options.prompt, {.add_special = true});
  if (ids.empty()) fail("--prompt: this text has no tokens");
  if (load.context && int64_t(ids.size()) > *load.context)
    fail("--context {}: the text has {} tokens; give a longer context or a shorter text", *load.context, ids.size());

  NpyWriter file(options.output);  // what cannot be written is found before the weights are read
  load.kv_tokens = int64_t(ids.size());
  load.max_sequences = 1;
  load.max_rows = std::min<int64_t>(load.max_rows, int64_t(ids.size()));
  const auto loaded = load_session(load, options.json);
  const int vocabulary = loaded->checkpoint().config().vocabulary_size;
  for (int32_t id : ids)
    if (id >= vocabulary) fail("--ids: {} is outside the vocabulary of {} tokens", id, vocabulary);

  file.begin(int64_t(ids.size()), vocabulary);
  std::vector<int32_t> best(ids.size());
  int64_t rows = 0;
  loaded->engine().logits(
      ids, options.chunk,
      [&](int64_t position, std::span<const float> row) {
        file.row(row);
        best[size_t(position)] = int32_t(std::max_element(row.begin(), row.end()) - row.begin());
        ++rows;
      },
      [](int64_t) { return !interrupted(); });
  stop_if_interrupted();
  if (rows != int64_t(ids.size())) fail("the machine failed after {} of {} positions", rows, ids.size());
  file.finish();
  if (options.json) {
    fmt::print("{}\n", dump_line({{"output", options.output},
                                  {"shape", {ids.size(), vocabulary}},
                                  {"argmax", best},
                                  {"numerics_key", loaded->engine().numerics_key()}}));
  } else {
    fmt::print("{}: float32 [{}, {}]\n", options.output, ids.size(), vocabulary);
  }
  return kSuccess;
}

}  // namespace

void add_logits(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = app.add_subcommand("logits", "The logits of every position, as a .npy file: for parity checks");
  options->model.add_to(*command, true);
  command->add_option("--ids", options->ids, "Token ids: 1,2,3");
  command->add_option("--prompt", options->prompt, "A text instead (encoded with BOS)");
  command->add_option("--output", options->output, "File to write: float32 [tokens, vocabulary]")->required();
  command->add_option("--chunk", options->chunk, "Rows a step (0: as many as fit); changes no bit of the result")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print a JSON summary with the argmax of every position");
  command->footer("Example:\n  updraft logits ./model --ids 1,733,16289 --output out.npy --dtype f32 --kv-dtype f32");
  command->callback([options, &exit_code] {
    if (options->ids.empty() == options->prompt.empty())
      throw CLI::ValidationError("give exactly one of --ids and --prompt");
    exit_code = run(*options);
  });
}

}  // namespace updraft::cli
