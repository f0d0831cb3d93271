#include "cli/terminal.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <regex>
#include <string>
#include <thread>

namespace updraft::cli {
namespace {

// Standard error is a terminal of so many columns while this lives.
class StandardErrorTerminal {
 public:
  explicit StandardErrorTerminal(unsigned short columns) {
    const winsize size{24, columns, 0, 0};
    EXPECT_EQ(openpty(&master_, &slave_, nullptr, nullptr, &size), 0);
    std::fflush(stderr);
    saved_ = dup(STDERR_FILENO);
    dup2(slave_, STDERR_FILENO);
  }
  ~StandardErrorTerminal() {
    dup2(saved_, STDERR_FILENO);
    for (int descriptor : {saved_, slave_, master_}) close(descriptor);
  }
  std::string written() {
    std::fflush(stderr);
    std::string text;
    char piece[4096];
    for (pollfd ready{master_, POLLIN, 0}; poll(&ready, 1, 200) > 0;) {  // the kernel hands it over a little later
      const ssize_t got = read(master_, piece, sizeof piece);
      if (got <= 0) break;
      text.append(piece, size_t(got));
    }
    return text;
  }

 private:
  int master_ = -1, slave_ = -1, saved_ = -1;
};

// The last line drawn, without the codes that return to its beginning and clear it.
std::string last_line(const std::string& drawn) {
  const std::string begin = "\r\x1b[K";
  const size_t at = drawn.rfind(begin);
  return at == std::string::npos ? "" : drawn.substr(at + begin.size());
}

std::string drawn_after_a_second(unsigned short columns, const Progress& progress) {
  StandardErrorTerminal terminal(columns);
  ProgressBar bar;
  bar.show({progress.what, 0, progress.total, progress.unit});
  EXPECT_EQ(terminal.written(), "") << "nothing is drawn within the first second";
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  bar.show(progress);
  return last_line(terminal.written());
}

TEST(ProgressBar, StaysOnOneLineOfTheTerminal) {
  const Progress progress{"loading weights", 5'870'000'000, 9'660'000'000, "B"};
  const std::string wide = drawn_after_a_second(120, progress), usual = drawn_after_a_second(80, progress),
                    narrow = drawn_after_a_second(50, progress);
  for (const std::string& line : {wide, usual}) {
    EXPECT_NE(line.find("loading weights  [="), std::string::npos) << line;
    EXPECT_NE(line.find(" 61 %  5.87 GB of 9.66 GB"), std::string::npos) << line;
    EXPECT_NE(line.find(" left"), std::string::npos) << line;
  }
  EXPECT_LT(wide.size(), 120U);
  EXPECT_LT(usual.size(), 80U) << usual;
  EXPECT_LT(narrow.size(), 50U) << narrow;
  EXPECT_NE(narrow.find(" 61 %"), std::string::npos) << narrow;
}

TEST(ProgressBar, KeepsItsRateWhenTheWorkTakesANewName) {
  StandardErrorTerminal terminal(100);
  ProgressBar bar;
  bar.show({"bench: one", 4, 10, "runs"});
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  bar.show({"bench: two", 7, 10, "runs"});  // 3 runs in a second or more, not 7
  const std::string line = last_line(terminal.written());
  EXPECT_NE(line.find("bench: two"), std::string::npos) << line;
  std::smatch rate;
  ASSERT_TRUE(std::regex_search(line, rate, std::regex("7 of 10 runs  ([0-9.]+) runs/s"))) << line;
  EXPECT_LE(std::stod(rate[1]), 3) << line;
  EXPECT_GT(std::stod(rate[1]), 0) << line;
  EXPECT_NE(line.find(" s left"), std::string::npos) << line;
}

TEST(ProgressBar, CutsBetweenCharacters) {
  std::string what;
  for (int i = 0; i < 60; ++i) what += "模";
  const std::string line = drawn_after_a_second(40, {what, 1, 2, "runs"});
  EXPECT_EQ(line.size(), 19U * 3) << "whole characters, each two columns wide";
}

}  // namespace
}  // namespace updraft::cli
