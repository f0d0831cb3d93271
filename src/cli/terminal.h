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
  std::string what_;
  Clock::time_point started_{}, drawn_{};
  bool visible_ = false;
};

// Ctrl-C and SIGTERM set this flag; a second Ctrl-C within a second ends the process at once.
const std::atomic<bool>& interrupted();
void watch_interrupts();  // installs the handlers
void clear_interrupt();   // chat: the answer was stopped, the program goes on

}  // namespace updraft::cli
