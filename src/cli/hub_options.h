// From flags and environment to the hub's options: what pull, models, bundle and every command that takes a model name
// share, with the display of a download.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "hub/pull.h"

namespace updraft::cli {

// A model's folder or .gguf file: an existing path, where a folder with nothing but one .gguf means that file;
// organisation/name from the cache, pulled first unless offline. Anything else as it is, for the caller's own message.
// Throws Error, or HubError of a pull.
std::string resolve_model(const std::string& model, bool offline);
// The flag --offline of a command that resolves a model.
void add_offline_flag(CLI::App& command, bool& offline);

// The environment's settings, Ctrl-C, progress and messages on stderr (through `display`).
class PullDisplay;
hub::PullOptions pull_options(const std::shared_ptr<PullDisplay>& display);

// One line on a terminal: total, rate, time left, the files under way; elsewhere a line every half minute.
class PullDisplay {
 public:
  explicit PullDisplay(bool quiet = false) : quiet_(quiet) {}
  ~PullDisplay() { finish(); }
  PullDisplay(const PullDisplay&) = delete;
  PullDisplay& operator=(const PullDisplay&) = delete;
  void show(const hub::PullProgress&);
  void message(const std::string&);
  void finish();

 private:
  bool quiet_, visible_ = false;
  double started_ = 0, drawn_ = 0, rate_at_ = 0, rate_ = 0;
  int64_t rate_done_ = 0;
};

}  // namespace updraft::cli
