// How fast a folder's weights get from the page cache into packed memory, beside the floor: a plain parallel copy of
// the same files into freshly mapped memory (2 MiB pages asked for, as the packed weights have). The two take turns.
//
//   load_benchmark FOLDER [ROUNDS]        make one: updraft inspect --synthetic mistral-7b:layers=12 --write FOLDER
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "base/thread_team.h"
#include "compute/cpu/huge_memory.h"
#include "session/session.h"

namespace {

using namespace updraft;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double copy_seconds(const std::vector<std::filesystem::path>& paths, int64_t& bytes) {
  ThreadTeam team(available_processors());
  bytes = 0;
  const Clock::time_point start = Clock::now();
  for (const auto& path : paths) {
    const File file(path);
    const compute::cpu::HugeMemory memory(file.size(), "the copy");
    constexpr int64_t kPiece = int64_t(8) << 20;
    team.parallel_for((file.size() + kPiece - 1) / kPiece, 1, [&](int64_t begin, int64_t, int) {
      const int64_t at = begin * kPiece, count = std::min(kPiece, file.size() - at);
      file.read_at(at, std::span(memory.as<std::byte>() + at, size_t(count)));
    });
    bytes += file.size();
  }
  return seconds_since(start);
}

double load_seconds(const std::string& folder) {
  session::LoadOptions options;
  options.model = folder;
  options.kv_tokens = 64;
  options.max_sequences = 1;
  const Clock::time_point start = Clock::now();
  const auto loaded = session::Session::load(options);
  return seconds_since(start);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: {} FOLDER [ROUNDS]\n", argv[0]);
    return 2;
  }
  try {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
      if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
    std::vector<double> ratios;
    for (int round = 0; round <= rounds; ++round) {
      int64_t bytes = 0;
      const double copy = copy_seconds(paths, bytes), load = load_seconds(argv[1]);
      if (round == 0) continue;  // fills the page cache
      ratios.push_back(copy / load);
      fmt::print("copy {:.2f} GB/s, load {:.2f} GB/s, {:.0f} %\n", double(bytes) / copy / 1e9,
                 double(bytes) / load / 1e9, ratios.back() * 100);
    }
    std::sort(ratios.begin(), ratios.end());
    fmt::print("median {:.0f} % of a plain parallel copy\n", ratios[ratios.size() / 2] * 100);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
