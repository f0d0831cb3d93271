// updraft tune: measures which settings are fastest on this machine for a shape of model, and keeps them for the other
// commands. No setting changes a bit of any result.
#include "measure/tune.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/environment.h"
#include "cli/json_lines.h"
#include "cli/terminal.h"
#include "session/tuning.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct CommandOptions {
  ModelOptions model;
  measure::TuneOptions tune;
  bool json = false, dry_run = false;
};

int run(const CommandOptions& options) {
  session::LoadOptions load = options.model.load_options();
  if (!options.dry_run) session::make_tuning_folder(tuning_folder());  // found before the measuring, not after
  measure::prepare(options.tune, load);
  const auto loaded = load_session(load, options.json);
  ProgressBar bar;
  const measure::TuneResult result = measure::tune(
      *loaded, options.tune, [&](const Progress& p) { bar.show(p); }, interrupted());
  bar.finish();
  if (interrupted()) return kInterrupted;
  const session::TunedFor what = loaded->tuned_for();
  const std::string path = session::tuning_path(tuning_folder(), what);
  if (!options.dry_run) session::write_tuning(tuning_folder(), what, result.best, result.measured.dump());
  const compute::Tuning& best = result.best;
  if (options.json) {
    ordered_json json = {{"file", options.dry_run ? ordered_json(nullptr) : ordered_json(path)},
                         {"processor", what.processor},
                         {"path", what.path},
                         {"threads", what.threads},
                         {"shape", what.shape},
                         {"tuning", session::tuning_json(best)}};
    for (const auto& [name, value] : result.measured.items()) json[name] = value;
    fmt::print("{}\n", dump_line(json));
    return kSuccess;
  }
  const auto threads = [&](int n) { return n == 0 ? what.threads : n; };
  const auto gained = [&](const char* gain) {
    const double times = result.measured[gain];
    return times > 1 ? fmt::format("{:.3f} x as fast as the defaults", times) : "the defaults are best here";
  };
  fmt::print("decode   {} threads; {}\n", threads(best.decode_threads), gained("decode_gain"));
  fmt::print("prefill  {} threads, chunks of {} rows, {} panels together, steps of {} rows; {}\n",
             threads(best.prefill_threads), best.chunk_rows, best.group_panels, best.step_rows,
             result.measured["prompt_tokens"] == 0 ? "the defaults, unmeasured" : gained("prefill_gain"));
  fmt::print("a step of 1 + n rows costs {:.3f} + n x {:.3f} of one row's\n", 1 + best.step_cost, best.row_cost);
  if (result.measured["prompt_tokens"] == 0)
    fmt::print(
        "Prompts of {} tokens take too long to be measured in this time: give more --seconds, or fewer layers of this "
        "shape with --synthetic (see --help).\n",
        measure::kShortestTunedPrompt);
  else if (result.measured["complete"] != true)
    fmt::print(
        "The time was up before every setting was tried and confirmed; what was not is as by default. Give more "
        "--seconds.\n");
  if (!options.dry_run) fmt::print("kept in {}\n", path);
  return kSuccess;
}

}  // namespace

void add_tune(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App* command = app.add_subcommand(
      "tune", "Find the fastest settings for a shape of model on this machine; they change no bit of a result");
  options->model.add_to(*command, true);
  command->add_option("--seconds", options->tune.seconds, "Measure for at most so long, after loading")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 3600.0));
  command->add_flag("--dry-run", options->dry_run, "Measure and print, but keep nothing");
  command->add_flag("--json", options->json, "One JSON object: the settings, what they gained, every trial");
  command->footer(
      "The result is kept under the cache folder, per processor, threads and shape (the number of layers does not "
      "matter), and used by\ngenerate, chat, bench and the others as long as it fits. Speculation has no meaning "
      "here: single steps are measured, and what\nfurther rows cost them, from which speculation learns how much to "
      "propose.\n"
      "Examples:\n  updraft tune ./Mistral-7B-Instruct-v0.2\n  updraft tune --synthetic mistral-7b:layers=4");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace updraft::cli
