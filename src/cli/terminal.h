// Terminal: colour only on a terminal, a progress bar with rate and time left for work longer than a second, Ctrl-C as
// a flag; and standard streams that may be closed, full or no file.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "base/progress.h"

namespace updraft::cli {

// A standard descriptor that came closed would be taken by the next file that is opened, a model or a result, and be
// read or written as if it were the user's stream. Before anything else.
void open_standard_descriptors();

// Writes to stderr, which is for people to read: where it cannot be written the work goes on without a word.
void write_error(std::string_view text);
// fmt::print(stderr, ...) without its exception.
template <typename... Arguments>
void say_error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_error(fmt::format(format, std::forward<Arguments>(arguments)...));
}

// Sends what was printed on stdout on its way, where someone waits for it or stderr goes to the same file. Its first
// failure is kept for main, which says it at the end.
void flush_output();
int output_failure();  // errno; 0: none

std::string read_standard_input();  // to its end; throws Error

bool stdout_is_terminal();
bool stderr_is_terminal();
bool stderr_draws();  // a terminal on which a line can be drawn over

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

// Ctrl-C and SIGTERM set this flag; a second one within a second ends the process at once.
const std::atomic<bool>& interrupted();
bool terminated();  // by SIGTERM: it asks the program to end, also where Ctrl-C only ends an answer
// Installs the handlers; a file that grows over the user's limit fails to be written, which is said, instead of ending
// the process.
void watch_signals();
void clear_interrupt();  // chat: the answer was stopped by Ctrl-C, the program goes on
// For work that has nothing to give when it is stopped: throws Error, and the exit code is that of an interruption.
void stop_if_interrupted();

}  // namespace updraft::cli
