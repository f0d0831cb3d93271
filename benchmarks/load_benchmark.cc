// How fast a folder's weights get into packed memory, beside the floor, both in turns:
//
//   load_benchmark FOLDER [ROUNDS]          files in the page cache; beside a plain parallel copy of them into freshly
//                                           mapped memory (2 MiB pages asked for, as the packed weights have)
//   load_benchmark --cold FOLDER [ROUNDS]   files not in the page cache; beside reading them from the disk
//   load_benchmark --dtype int8 FOLDER ...  rounding while loading; beside loading the same files as they are, or with
//                                           --cold beside reading them from the disk
//
// Make a folder: updraft inspect --synthetic mistral-7b:layers=12 --write FOLDER
//
// A virtual machine may give free memory back to its host, and the host takes long to supply it again (0.8 GB/s here,
// where memory that the host still holds is cleared at 16). Neither side should pay that by chance: before every timed
// part twice as much memory as it will map is mapped, touched and freed (once as much left rounds of 40 to 200 %).
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_team.h"
#include "compute/cpu/huge_memory.h"
#include "measure/statistics.h"
#include "model/weight_choice.h"
#include "session/session.h"

namespace {

using namespace updraft;
using compute::cpu::HugeMemory;
using Clock = std::chrono::steady_clock;
using Paths = std::vector<std::filesystem::path>;

// Time on the clock, and of the processors: on a machine shared with others only the second can be compared.
struct Seconds {
  double clock = 0, processors = 0;
};

double processor_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) { return double(t.tv_sec) + double(t.tv_usec) * 1e-6; };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

class Stopwatch {
 public:
  Seconds stop() const {
    return {std::chrono::duration<double>(Clock::now() - start_).count(), processor_seconds() - processors_};
  }

 private:
  Clock::time_point start_ = Clock::now();
  double processors_ = processor_seconds();
};

constexpr int64_t kPiece = int64_t(8) << 20;
constexpr int64_t kPage = 4096;

void for_pieces(ThreadTeam& team, int64_t bytes, FunctionRef<void(int64_t at, int64_t count, int member)> body) {
  team.parallel_for((bytes + kPiece - 1) / kPiece, 1, [&](int64_t piece, int64_t, int member) {
    body(piece * kPiece, std::min(kPiece, bytes - piece * kPiece), member);
  });
}

int64_t bytes_of(const Paths& paths) {
  int64_t bytes = 0;
  for (const auto& path : paths) bytes += int64_t(std::filesystem::file_size(path));
  return bytes;
}

void make_host_supply(int64_t bytes) {
  ThreadTeam team(available_processors());
  const HugeMemory memory(bytes, "the benchmark");
  for_pieces(team, bytes, [&](int64_t at, int64_t count, int) {
    for (int64_t i = at; i < at + count; i += kPage) memory.as<volatile char>()[i] = 1;
  });
}

Seconds copy_seconds(const Paths& paths) {
  ThreadTeam team(available_processors());
  std::vector<HugeMemory> copies;
  const Stopwatch watch;
  for (const auto& path : paths) {
    const File file(path);
    const HugeMemory& memory = copies.emplace_back(file.size(), "the copy");
    for_pieces(team, file.size(), [&](int64_t at, int64_t count, int) {
      file.read_at(at, std::span(memory.as<std::byte>() + at, size_t(count)));
    });
  }
  return watch.stop();
}

// The files once through, into a buffer a thread: what the disk gives.
Seconds read_seconds(const Paths& paths) {
  ThreadTeam team(available_processors());
  std::vector<std::vector<std::byte>> buffers(size_t(team.size()), std::vector<std::byte>(size_t(kPiece)));
  const Stopwatch watch;
  for (const auto& path : paths) {
    const File file(path);
    file.advise_sequential();
    for_pieces(team, file.size(), [&](int64_t at, int64_t count, int member) {
      file.read_at(at, std::span(buffers[size_t(member)]).first(size_t(count)));
    });
  }
  return watch.stop();
}

Seconds load_seconds(const std::string& folder, const std::string& dtype) {
  session::LoadOptions options;
  options.model = folder;
  const auto choice = model::parse_weight_choice(dtype);
  if (!choice) fail("--dtype {}: must be one of {}.", dtype, model::kWeightChoices);
  options.weights = *choice;
  options.kv_tokens = 64;
  options.max_sequences = 1;
  const Stopwatch watch;
  const auto loaded = session::Session::load(options);
  return watch.stop();
}

void drop_from_page_cache(const Paths& paths) {
  for (const auto& path : paths) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail("{}: cannot open the file.", path.string());
    ::fsync(descriptor);  // pages not yet written stay
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  }
}

struct Options {
  std::string folder;
  std::string dtype = "auto";
  bool cold = false;
  int rounds = 5;
};

void run(const Options& options) {
  Paths paths;
  for (const auto& entry : std::filesystem::directory_iterator(options.folder))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  const int64_t bytes = bytes_of(paths);
  const bool rounded = options.dtype != "auto";
  const char* floor_name = options.cold ? "disk" : rounded ? "as it is" : "copy";
  const auto timed = [&](bool load) {
    make_host_supply(2 * bytes);
    if (options.cold) drop_from_page_cache(paths);
    if (load) return load_seconds(options.folder, options.dtype);
    return options.cold ? read_seconds(paths) : rounded ? load_seconds(options.folder, "auto") : copy_seconds(paths);
  };
  std::vector<double> ratios, processor_ratios;
  for (int round = 0; round <= options.rounds; ++round) {
    const bool load_first = round % 2 == 1;
    const Seconds first = timed(load_first), second = timed(!load_first);
    if (round == 0) continue;  // fills the page cache
    const Seconds load = load_first ? first : second, floor = load_first ? second : first;
    ratios.push_back(floor.clock / load.clock);
    processor_ratios.push_back(floor.processors / load.processors);
    fmt::print(
        "{} {:.2f} s, {:.2f} GB/s; load {:.2f} s, {:.2f} GB/s, {:.0f} %; processor time {:.2f} and {:.2f} s, {:.0f} "
        "%\n",
        floor_name, floor.clock, double(bytes) / floor.clock / 1e9, load.clock, double(bytes) / load.clock / 1e9,
        ratios.back() * 100, floor.processors, load.processors, processor_ratios.back() * 100);
  }
  fmt::print("median: {} takes {:.0f} % of the load's time, {:.0f} % of its processor time\n", floor_name,
             measure::summarize(ratios).median * 100, measure::summarize(processor_ratios).median * 100);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("How fast a folder's weights get into packed memory, beside the floor.");
  app.add_option("FOLDER", options.folder)->required();
  app.add_option("ROUNDS", options.rounds)->check(CLI::PositiveNumber);
  app.add_option("--dtype", options.dtype, "int8, int4, ...: rounded while loading; auto: as stored");
  app.add_flag("--cold", options.cold, "files not in the page cache, beside the disk");
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
