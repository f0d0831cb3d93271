#include "cli/hub_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "hub/names.h"

namespace updraft::cli {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A folder whose only weights are GGUF files, as repositories of GGUF are, means the one that is there.
std::string model_of(const std::string& folder) {
  std::vector<std::string> ggufs;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(".safetensors") || (name.starts_with("pytorch_model") && name.ends_with(".bin"))) return folder;
    if (name.ends_with(".gguf")) ggufs.push_back(at->path().string());
  }
  if (ggufs.empty()) return folder;
  std::sort(ggufs.begin(), ggufs.end());
  if (ggufs.size() > 1)
    fail("{}: holds {} .gguf files: give the path of the one that is meant, as in {}", folder, ggufs.size(),
         ggufs.front());
  return ggufs.front();
}

}  // namespace

void PullDisplay::show(const hub::PullProgress& progress) {
  const double now = now_s();
  if (started_ == 0) started_ = now, rate_at_ = now, rate_done_ = progress.done;
  if (now - rate_at_ >= 1) {  // a rate over the last seconds, not over the whole run
    const double recent = std::max(0.0, double(progress.done - rate_done_)) / (now - rate_at_);
    rate_ = rate_ == 0 ? recent : 0.7 * rate_ + 0.3 * recent;
    rate_at_ = now;
    rate_done_ = progress.done;
  }
  const bool drawn_over = stderr_draws();
  if (quiet_ || now - started_ < 1 || now - drawn_ < (drawn_over ? 0.1 : 30)) return;
  drawn_ = now;
  const double total = std::max(1.0, double(progress.total)), fraction = std::min(1.0, double(progress.done) / total);
  std::string line = fmt::format("{:3.0f} %  {} of {}  {}/s", fraction * 100, human_bytes(double(progress.done)),
                                 human_bytes(total), human_bytes(rate_));
  if (rate_ > 0) line += fmt::format("  {} left", human_duration((total - double(progress.done)) / rate_));
  for (const hub::FileProgress& file : progress.active)
    line +=
        fmt::format("  | {} {:.0f} %", file.path, 100.0 * double(file.done) / double(std::max<int64_t>(1, file.total)));
  if (!drawn_over) {
    say_error("{}\n", line);
    return;
  }
  draw_line(line);
  visible_ = true;
}

void PullDisplay::finish() {
  if (visible_) write_error("\r\x1b[K");
  visible_ = false;
}

void PullDisplay::message(const std::string& sentence) {
  finish();
  if (!quiet_) say_error("{}\n", styled(sentence, Style::kDim, stderr_is_terminal()));
}

hub::PullOptions pull_options(const std::shared_ptr<PullDisplay>& display) {
  const HubEnvironment& hub = environment().hub;
  hub::PullOptions options;
  options.cache = hub.cache;
  options.offline = hub.offline;
  options.sources.default_endpoint = hub.endpoint;
  options.sources.token = hub.token;
  options.transfer.no_links = hub.no_links;
  options.transfer.http.connect_s = hub.connect_s;
  options.transfer.http.stall_s = hub.stall_s;
  options.transfer.http.certificates = hub.certificates;
  options.transfer.http.user_agent = "updraft/" UPDRAFT_VERSION;
  options.transfer.http.cancel = &interrupted();
  options.transfer.progress = [display](const hub::PullProgress& progress) { display->show(progress); };
  options.transfer.message = [display](const std::string& sentence) { display->message(sentence); };
  return options;
}

void add_offline_flag(CLI::App& command, bool& offline) {
  command.add_flag("--offline", offline, "Never touch the network: a model name must be in the cache");
}

std::string resolve_model(const std::string& model, bool offline) {
  if (is_there(model)) return model_of(model);
  if (model.find('/') == std::string::npos || !hub::is_repository_id(model)) return model;
  const auto display = std::make_shared<PullDisplay>();
  hub::PullOptions options = pull_options(display);
  options.repository = model;
  options.offline |= offline;
  // What is complete in the cache is used without asking the network whether there is a newer commit: pull does that.
  if (const auto cached = hub::Cache(options.cache).find(model, options.revision)) return model_of(*cached);
  const hub::PullResult result = hub::pull(options);
  display->finish();
  return model_of(result.folder);
}

}  // namespace updraft::cli
