// updraft models: what is in the cache; verify it, remove it.
#include "hub/models.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/environment.h"
#include "cli/json_lines.h"
#include "cli/terminal.h"
#include "hub/hub_error.h"

namespace updraft::cli {
namespace {

struct ModelsFlags {
  std::string name, remove;
  bool verify = false, json = false;
};

int verify(const hub::Cache& cache, const std::string& only) {
  int wrong = 0;
  bool found = false;
  for (const hub::CachedModel& model : hub::list_models(cache)) {
    if (!only.empty() && model.id != only) continue;
    found = true;
    ProgressBar bar;
    const hub::Verification result = hub::verify_model(cache, model.id, [&](const Progress& p) { bar.show(p); });
    bar.finish();
    for (const std::string& sentence : result.wrong)
      fmt::print("{}\n", styled(sentence, Style::kRed, stdout_is_terminal()));
    fmt::print("{}: {} files, {}, {}\n", model.id, result.files, human_bytes(double(result.bytes)),
               result.wrong.empty() ? "all as they should be" : fmt::format("{} wrong", result.wrong.size()));
    wrong += int(result.wrong.size());
  }
  if (!found && !only.empty())
    hub::refuse(hub::Refusal::kNoRepository, "{}: not in the cache {}", only, cache.root().string());
  return wrong == 0 ? kSuccess : int(hub::Refusal::kWrongHash);
}

int run(const ModelsFlags& flags) {
  const hub::Cache cache(environment().hub.cache);
  if (!flags.remove.empty()) {
    const int64_t freed = hub::remove_model(cache, flags.remove);
    fmt::print("removed {}: {} freed\n", flags.remove, human_bytes(double(freed)));
    return kSuccess;
  }
  if (flags.verify) return verify(cache, flags.name);
  const auto models = hub::list_models(cache);
  if (flags.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const hub::CachedModel& model : models)
      list.push_back({{"id", model.id},
                      {"bytes", model.bytes},
                      {"unfinished_bytes", model.unfinished_bytes},
                      {"complete", model.complete},
                      {"revisions", model.revisions},
                      {"commits", model.commits}});
    fmt::print("{}\n", dump_line(list));
    return kSuccess;
  }
  for (const hub::CachedModel& model : models) {
    std::string revisions;
    for (const auto& [name, commit] : model.revisions) revisions += fmt::format("  {} = {}", name, commit.substr(0, 8));
    fmt::print(
        "{:<50} {:>8}  {}{}{}\n", model.id, human_bytes(double(model.bytes)), model.complete ? "ready" : "not complete",
        model.unfinished_bytes > 0 ? fmt::format(" ({} under way)", human_bytes(double(model.unfinished_bytes))) : "",
        revisions);
  }
  say_error("{} models in {}\n", models.size(), cache.root().string());
  return kSuccess;
}

}  // namespace

void add_models(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ModelsFlags>();
  CLI::App* command = app.add_subcommand("models", "What is in the cache; verify it, remove it");
  command->add_option("NAME", flags->name, "With --verify: only this model");
  command->add_flag("--verify", flags->verify, "Hash every file again; exit code 19 when one is wrong");
  command->add_option("--remove", flags->remove, "Remove this model from the cache");
  command->add_flag("--json", flags->json, "One JSON array");
  command->footer(
      "Examples:\n  updraft models\n  updraft models --verify\n  updraft models --remove Qwen/Qwen2.5-0.5B-Instruct");
  command->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace updraft::cli
