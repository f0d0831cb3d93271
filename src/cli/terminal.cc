#include "cli/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "cli/environment.h"

namespace updraft::cli {
namespace {

std::atomic<bool> interrupt_flag{false}, terminate_flag{false};
std::atomic<int64_t> last_interrupt_s{0};

extern "C" void on_interrupt(int signal_number) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // async-signal-safe
  if (interrupt_flag.load() && now.tv_sec - last_interrupt_s.load() <= 1) _exit(128 + signal_number);
  last_interrupt_s = now.tv_sec;
  if (signal_number == SIGTERM) terminate_flag = true;
  interrupt_flag = true;
}

int first_output_failure = 0;

}  // namespace

void open_standard_descriptors() {
  // open() gives the lowest number that is free. Reading such an input or writing such an output still fails.
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(descriptor, F_GETFD) < 0)
      static_cast<void>(::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY));
}

void write_error(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  if (interrupted())
    std::clearerr(stdout);  // a write that the signal cut short, of which the exit code tells
  else if (first_output_failure == 0)
    first_output_failure = errno != 0 ? errno : EIO;
}

int output_failure() { return first_output_failure; }

std::string read_standard_input() {
  std::string text;
  char piece[1 << 16];
  while (const size_t got = std::fread(piece, 1, sizeof piece, stdin)) text.append(piece, got);
  const int error = errno;
  stop_if_interrupted();
  if (std::ferror(stdin) != 0) fail("standard input cannot be read: {}", std::strerror(error));
  return text;
}

size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 100;
}

void draw_line(std::string_view line) {
  size_t columns = terminal_columns() - 1, end = 0;
  while (end < line.size()) {
    size_t next = end + 1;
    while (next < line.size() && (static_cast<unsigned char>(line[next]) & 0xc0) == 0x80) ++next;
    const size_t width = next - end > 2 ? 2 : 1;  // at most: Chinese takes two columns, three bytes
    if (width > columns) break;
    columns -= width;
    end = next;
  }
  say_error("\r\x1b[K{}", line.substr(0, end));
}

bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }
bool stderr_draws() { return stderr_is_terminal() && !environment().dumb_terminal; }

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
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::show(const Progress& progress) {
  if (!stderr_draws()) return;
  const Clock::time_point now = Clock::now();
  // A new name is the same work as long as its count goes on: a benchmark names each of its tasks.
  if (progress.unit != unit_ || progress.total != total_ || progress.done < done_) {
    finish();
    unit_ = progress.unit;
    total_ = progress.total;
    first_ = progress.done;
    started_ = now;
  }
  done_ = progress.done;
  const double elapsed = std::chrono::duration<double>(now - started_).count();
  if (elapsed < 1 || now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const auto amount = [&](double n) {
    return progress.unit == "B" ? human_bytes(n) : fmt::format("{:.0f} {}", n, progress.unit);
  };
  const double done = double(progress.done), rate = double(progress.done - first_) / elapsed;
  const std::string speed =
      (progress.unit == "B" || rate >= 10 ? amount(rate) : fmt::format("{:.2g} {}", rate, progress.unit)) + "/s";
  if (progress.total <= 0) {
    draw_line(progress.done == 0 ? progress.what : fmt::format("{}  {}  {}", progress.what, amount(done), speed));
  } else {
    const double total = double(progress.total), fraction = std::min(1.0, done / total);
    std::string figures =
        fmt::format("{:3.0f} %  {} of {}  {}", fraction * 100,
                    progress.unit == "B" ? amount(done) : std::to_string(progress.done), amount(total), speed);
    if (rate > 0 && done < total) figures += fmt::format("  {} left", human_duration((total - done) / rate));
    // The bar takes what the figures leave of the line; on a narrow terminal it is the bar that goes.
    constexpr size_t kWidest = 28, kNarrowest = 8;
    const size_t taken = progress.what.size() + figures.size() + 6, columns = terminal_columns() - 1;
    const size_t width = columns > taken ? std::min(columns - taken, kWidest) : 0;
    const size_t filled = size_t(fraction * double(width));
    const std::string bar =
        width < kNarrowest ? "" : fmt::format("[{}{}] ", std::string(filled, '='), std::string(width - filled, ' '));
    draw_line(fmt::format("{}  {}{}", progress.what, bar, figures));
  }
  visible_ = true;
}

void ProgressBar::finish() {
  if (visible_) write_error("\r\x1b[K");
  visible_ = false;
  total_ = -1;
}

const std::atomic<bool>& interrupted() { return interrupt_flag; }
bool terminated() { return terminate_flag; }

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a read from the keyboard returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &action, nullptr);
}

void clear_interrupt() {
  if (!interrupt_flag) return;
  std::clearerr(stdout);  // a write that the signal cut short is no failure of what comes
  interrupt_flag = false;
  if (terminate_flag) interrupt_flag = true;  // looked at afterwards: it may come at any time, and stays
}

void stop_if_interrupted() {
  if (interrupted()) fail("interrupted");
}

}  // namespace updraft::cli
