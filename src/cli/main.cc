// updraft: one program, one subcommand per job. Errors are one sentence on stderr and a non-zero exit code.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <vector>

#include "cli/command.h"
#include "cli/terminal.h"
#include "hub/hub_error.h"

int main(int argc, char** argv) {
  using namespace updraft::cli;
  open_standard_descriptors();
  watch_signals();
  CLI::App app{"Updraft: from a Hugging Face model folder to a running, measured model"};
  app.name("updraft");
  app.set_version_flag("--version", "updraft " UPDRAFT_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 doctor: not ready, 4 bench: regression, 10 to 29 pull "
      "(see docs/pull.md), 130 interrupted.\n"
      "`updraft COMMAND --help` has examples.");
  int exit_code = kSuccess;
  add_generate(app, exit_code);
  add_doctor(app, exit_code);
  add_bench(app, exit_code);
  add_chat(app, exit_code);
  add_inspect(app, exit_code);
  add_tokenize(app, exit_code);
  add_template(app, exit_code);
  add_logits(app, exit_code);
  add_quantize(app, exit_code);
  add_eval(app, exit_code);
  add_pull(app, exit_code);
  add_models(app, exit_code);
  add_bundle(app, exit_code);
  add_tune(app, exit_code);
  try {
    const auto is_first = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
    const std::vector<CLI::App*> commands = app.get_subcommands({});
    if (argc > 1 && argv[1][0] != '-' && std::none_of(commands.begin(), commands.end(), is_first))
      throw CLI::ValidationError(fmt::format("there is no command {}", argv[1]));
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kSuccess : kUsage;
  } catch (const updraft::hub::HubError& e) {
    say_error("{} {}\n", styled("updraft:", Style::kRed, stderr_is_terminal()), e.what());
    return e.exit_code();
  } catch (const std::exception& e) {
    say_error("{} {}\n", styled("updraft:", Style::kRed, stderr_is_terminal()), e.what());
    return interrupted() ? kInterrupted : kFailure;
  }
  // What was printed stands in a buffer still: a full disk shows only now.
  flush_output();
  if (output_failure() != 0) {
    say_error("{} standard output cannot be written: {}\n", styled("updraft:", Style::kRed, stderr_is_terminal()),
              std::strerror(output_failure()));
    return kFailure;
  }
  return exit_code;
}
