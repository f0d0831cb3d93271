// Terminal: colour only on a terminal, a progress bar with rate and time left for work longer than a second, Ctrl-C as
// a flag.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include "base/progress.h"

namespace updraft::cli {

bool stdout_is_terminal();
bool stderr_is_terminal();

enum class Style { kBold, kDim, kRed, kGreen, kYellow, kCyan };
std::string styled(std::string_view text, Style style, bool to_terminal);

// "14.5 GB", "1.23 s": numbers with units as people read them. Powers of 1000.
std::string human_bytes(double bytes);
std::string human_duration(double seconds);

// Over the line of the terminal that stderr is, cut to its width so that it can be drawn over again.
void draw_line(std::string_view line);

// Draws one line on stderr, erased at the end; draws nothing where stderr is no terminal or the work is over within a
// second.
class ProgressBar {
 public:
  ProgressBar() = default;
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void show(const Progress&);
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string unit_;
  int64_t total_ = -1, first_ = 0, done_ = 0;
  Clock::time_point started_{}, drawn_{};
  bool visible_ = false;
};

// Ctrl-C and SIGTERM set this flag; a second Ctrl-C within a second ends the process at once.
const std::atomic<bool>& interrupted();
// Installs the handlers; a file that grows over the user's limit fails to be written, which is said, instead of ending
// the process.
void watch_signals();
void clear_interrupt();  // chat: the answer was stopped, the program goes on
// For work that has nothing to give when it is stopped: throws Error, and the exit code is that of an interruption.
void stop_if_interrupted();

}  // namespace updraft::cli
