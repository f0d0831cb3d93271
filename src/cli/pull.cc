// updraft pull: a model from the network, a mirror, a folder or a bundle into the cache.
#include "hub/pull.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>

#include "base/file.h"
#include "cli/command.h"
#include "cli/hub_options.h"
#include "cli/terminal.h"
#include "hub/bundle.h"

namespace updraft::cli {
namespace {

struct PullFlags {
  std::string repository, revision = "main", local_dir, token, max_rate;
  std::vector<std::string> include, exclude, endpoints;
  bool offline = false, quiet = false;
  int connections = 8;
};

// "20M", "500K", "1.5G" or bytes, per second.
int64_t parse_rate(const std::string& text) {
  if (text.empty()) return 0;
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  for (const auto& [name, factor] : {std::pair{"K", 1e3}, {"M", 1e6}, {"G", 1e9}})
    if (unit == name) value *= factor;
  const bool known = unit.empty() || unit == "K" || unit == "M" || unit == "G";
  if (end == text.c_str() || !known || !(value >= 1000) || value > 1e15)
    fail("--max-rate {}: give bytes per second, at least 1000, as in 20M", text);
  return int64_t(value);
}

void limit_rate(hub::TransferSettings& transfer, int64_t rate) {
  transfer.max_bytes_per_s = rate;
  if (rate == 0) return;
  // Few connections, so that each one's share stays far above what counts as a stall.
  transfer.connections = std::clamp(int(rate / 1'000'000), 1, transfer.connections);
  transfer.http.stall_bytes_per_s = std::min<int64_t>(transfer.http.stall_bytes_per_s, rate / 100);
  transfer.http.stall_s = std::max(transfer.http.stall_s, 2e6 / double(rate));
}

int run(const PullFlags& flags) {
  const auto display = std::make_shared<PullDisplay>(flags.quiet);
  hub::PullOptions options = pull_options(display);
  options.repository = flags.repository;
  options.revision = flags.revision;
  options.include = flags.include;
  options.exclude = flags.exclude;
  options.offline |= flags.offline;
  options.sources.endpoints = flags.endpoints;
  options.sources.explicit_token = flags.token;
  options.transfer.connections = flags.connections;
  limit_rate(options.transfer, parse_rate(flags.max_rate));
  if (!flags.local_dir.empty()) options.local_folder = flags.local_dir;
  const auto started = std::chrono::steady_clock::now();
  const bool bundle = flags.repository.ends_with(".tar") && is_there(flags.repository);
  const hub::PullResult result = bundle ? hub::install_bundle(flags.repository, options) : hub::pull(options);
  display->finish();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  if (!flags.quiet) {
    if (result.from_cache)
      say_error("in the {}, commit {}\n", flags.local_dir.empty() ? "cache" : "folder", result.commit);
    else
      say_error("{} files, {}, commit {}; fetched {} in {}{}{}\n", result.files, human_bytes(double(result.bytes)),
                result.commit, human_bytes(double(result.fetched_bytes)), human_duration(seconds),
                result.from.empty() ? "" : " from ", fmt::join(result.from, ", "));
    if (result.unverified)
      say_error("{}\n", styled("This source tells no hashes: sizes were checked, contents could not be.",
                               Style::kYellow, stderr_is_terminal()));
  }
  fmt::print("{}\n", result.folder.string());
  return kSuccess;
}

}  // namespace

void add_pull(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<PullFlags>();
  CLI::App* command = app.add_subcommand("pull", "Get a model: resumable, verified, from several sources");
  command->add_option("REPOSITORY", flags->repository, "organisation/name, or a .tar made by `updraft bundle`")
      ->required();
  command->add_option("--revision", flags->revision, "Branch, tag or commit")->capture_default_str();
  command->add_option("--local-dir", flags->local_dir, "Put the files here instead of into the cache");
  // One value after each of these: the next word is the REPOSITORY.
  const auto list = [&](const char* flag, std::vector<std::string>& values, const char* help) {
    command->add_option(flag, values, help)->allow_extra_args(false);
  };
  list("--include", flags->include, "Only files that match this (* ? [abc]; repeatable); replaces the default choice");
  list("--exclude", flags->exclude, "Not these (repeatable)");
  list("--endpoint", flags->endpoints,
       "Where to get it, several times for a pool: a Hugging Face endpoint or mirror, modelscope+URL, modelers+URL, "
       "directory+URL, or a local folder (/path); default: HF_ENDPOINT, or huggingface.co, hf-mirror.com, "
       "modelscope.cn, modelers.cn");
  command->add_option("--token", flags->token,
                      "Access token for the first endpoint (default: HF_TOKEN, only for its own host)");
  command->add_option("--max-rate", flags->max_rate, "At most so many bytes per second, as in 20M");
  command->add_option("--connections", flags->connections, "Parallel connections")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command->add_flag("--offline", flags->offline,
                    "Never touch the network: check that every file asked for is there, in the cache or --local-dir");
  command->add_flag("--quiet", flags->quiet, "Print only the folder");
  command->footer(
      "Prints the folder on standard output. Run it again after any interruption: it continues.\nExamples:\n"
      "  updraft pull Qwen/Qwen2.5-0.5B-Instruct\n"
      "  updraft pull mistralai/Mistral-7B-Instruct-v0.2 --endpoint https://hf-mirror.com --endpoint "
      "https://huggingface.co\n"
      "Exit codes 10 to 29 tell why it failed: docs/pull.md.");
  command->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace updraft::cli
