// updraft bundle: a model as one file with a manifest, for a machine without a network.
#include "hub/bundle.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/environment.h"
#include "cli/terminal.h"

namespace updraft::cli {

void add_bundle(CLI::App& app, int& exit_code) {
  struct Flags {
    std::string model, out, revision = "main", name;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("bundle", "A model as one .tar with a manifest, for machines without a network");
  command->add_option("MODEL", flags->model, "A name in the cache, or a folder")->required();
  command->add_option("OUT", flags->out, "The .tar to write")->required();
  command->add_option("--revision", flags->revision, "Of a name in the cache")->capture_default_str();
  command->add_option("--name", flags->name, "Of a folder: the name it is installed under (organisation/name)");
  command->footer(
      "Examples:\n  updraft bundle Qwen/Qwen2.5-0.5B-Instruct qwen.tar\n  updraft pull qwen.tar     (on the other "
      "machine)");
  command->callback([flags, &exit_code] {
    ProgressBar bar;
    hub::BundleOptions options{environment().hub.cache,
                               flags->model,
                               flags->revision,
                               flags->name,
                               flags->out,
                               &interrupted(),
                               [&](const Progress& progress) { bar.show(progress); }};
    const int64_t bytes = hub::write_bundle(options);
    bar.finish();
    fmt::print("{}: {}\n", flags->out, human_bytes(double(bytes)));
    exit_code = kSuccess;
  });
}

}  // namespace updraft::cli
