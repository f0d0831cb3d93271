#include "cli/terminal.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "cli/environment.h"

namespace updraft::cli {
namespace {

std::atomic<bool> interrupt_flag{false};
std::atomic<int64_t> last_interrupt_s{0};

extern "C" void on_interrupt(int signal_number) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // async-signal-safe
  if (interrupt_flag.load() && now.tv_sec - last_interrupt_s.load() <= 1) _exit(128 + signal_number);
  last_interrupt_s = now.tv_sec;
  interrupt_flag = true;
}

}  // namespace

bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

std::string styled(std::string_view text, Style style, bool to_terminal) {
  if (!to_terminal || environment().no_color) return std::string(text);
  constexpr const char* kCodes[] = {"1", "2", "31", "32", "33", "36"};
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[int(style)], text);
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB", "PB"};
  int unit = 0;
  while (bytes >= 999.5 && unit < 5) bytes /= 1000, ++unit;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.3g} {}", bytes, kUnits[unit]);
}

std::string human_duration(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const int64_t whole = int64_t(seconds + 0.5);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::show(const Progress& progress) {
  if (!stderr_is_terminal()) return;
  const Clock::time_point now = Clock::now();
  if (progress.what != what_) {
    finish();
    what_ = progress.what;
    started_ = now;
  }
  const double elapsed = std::chrono::duration<double>(now - started_).count();
  if (elapsed < 1 || now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const auto amount = [&](double n) {
    return progress.unit == "B" ? human_bytes(n) : fmt::format("{:.0f} {}", n, progress.unit);
  };
  const double done = double(progress.done), rate = done / elapsed;
  std::string line = fmt::format("{}  ", progress.what);
  if (progress.total > 0) {
    constexpr int kWidth = 28;
    const double fraction = std::min(1.0, done / double(progress.total));
    const int filled = int(fraction * kWidth);
    line += fmt::format("[{}{}] {:3.0f} %  {} of {}  {}/s", std::string(size_t(filled), '='),
                        std::string(size_t(kWidth - filled), ' '), fraction * 100, amount(done),
                        amount(double(progress.total)), amount(rate));
    if (rate > 0) line += fmt::format("  {} left", human_duration((double(progress.total) - done) / rate));
  } else {
    line += fmt::format("{}  {}/s", amount(done), amount(rate));
  }
  fmt::print(stderr, "\r\x1b[K{}", line);
  std::fflush(stderr);
  visible_ = true;
}

void ProgressBar::finish() {
  if (visible_) fmt::print(stderr, "\r\x1b[K");
  visible_ = false;
  what_.clear();
}

const std::atomic<bool>& interrupted() { return interrupt_flag; }

void watch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read from the keyboard returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void clear_interrupt() { interrupt_flag = false; }

}  // namespace updraft::cli
