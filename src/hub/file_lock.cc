#include "hub/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "hub/digest.h"
#include "hub/hub_error.h"
#include "hub/names.h"

namespace updraft::hub {
namespace {

constexpr double kOwnerSilence_s = 120;
constexpr double kTemporarySilence_s = 3600;

std::string read_proc(const std::string& path) {
  std::string text(4096, 0);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const ssize_t got = descriptor < 0 ? 0 : ::read(descriptor, text.data(), text.size());
  if (descriptor >= 0) ::close(descriptor);
  text.resize(size_t(std::max<ssize_t>(0, got)));
  return text;
}

// When the process started, in ticks since the boot: process numbers come again, this does not. "" when unknown.
std::string start_of(int64_t process) {
  const std::string text = read_proc(fmt::format("/proc/{}/stat", process));
  const size_t name_end = text.rfind(')');  // the name before it may hold anything
  if (name_end == std::string::npos) return "";
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return field;
}

// Process numbers only mean something inside one namespace (a container has its own).
std::string process_namespace() {
  char target[64];
  const ssize_t length = ::readlink("/proc/self/ns/pid", target, sizeof target);
  return length > 0 ? std::string(target, size_t(length)) : "?";
}

double age_s(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? double(std::time(nullptr) - status.st_mtime) : 0;
}

// Where process numbers mean the same: this boot of this machine, this container. Eight digits.
std::string this_place() {
  Digest digest(Digest::kSha1);
  digest.update(boot_id() + process_namespace());
  return digest.hex().substr(0, 8);
}

bool process_lives(int64_t process) { return ::kill(pid_t(process), 0) == 0 || errno == EPERM; }

// PATH.PLACE-PROCESS-COUNT.updraft.tmp: whether its process may still rename it.
bool temporary_lives(const fs::path& path) {
  const std::string name = path.filename().string();
  const size_t count = name.rfind('-'), process = name.rfind('-', count == 0 ? 0 : count - 1);
  const size_t place = name.rfind('.', process);
  if (count == std::string::npos || process == std::string::npos || process == count || place == std::string::npos)
    return false;
  const auto number = parse_integer(std::string_view(name).substr(process + 1, count - process - 1));
  if (number && name.substr(place + 1, process - place - 1) == this_place()) return process_lives(*number);
  return age_s(path) < kTemporarySilence_s;
}

}  // namespace

std::string boot_id() {
  static const std::string id = read_proc("/proc/sys/kernel/random/boot_id").substr(0, 36);
  return id;
}

fs::path temporary_name(const fs::path& path) {
  static std::atomic<int> counter{0};
  return fmt::format("{}.{}-{}-{}.updraft.tmp", path.string(), this_place(), ::getpid(), ++counter);
}

bool owner_lives(const fs::path& owner) {
  if (!is_there(owner)) return false;
  std::string boot, process_text, start, space;
  try {
    std::istringstream(read_text_file(owner, 1024)) >> boot >> process_text >> start >> space;
  } catch (const Error&) {
    return false;
  }
  const auto process = parse_integer(process_text);
  if (process && boot == boot_id() && space == process_namespace())
    return process_lives(*process) && start_of(*process) == start;
  return age_s(owner) < kOwnerSilence_s;  // another machine or container, or a file half written
}

namespace {

// Removes an owner file whose process is dead. Moved away first: another process may take it over in this moment.
bool remove_dead(const fs::path& path) {
  const std::string moved = fmt::format("{}.{}", path.string(), ::getpid());
  if (::rename(path.c_str(), moved.c_str()) != 0) return true;  // gone already
  const bool lives = owner_lives(moved);
  if (lives) [[maybe_unused]]
    const int back = ::link(moved.c_str(), path.c_str());  // fails when a third one has it: then it is theirs
  ::unlink(moved.c_str());
  return !lives;
}

}  // namespace

bool OwnerFile::claim(const fs::path& path) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) {
      const std::string text =
          fmt::format("{} {} {} {}", boot_id(), ::getpid(), start_of(::getpid()), process_namespace());
      const bool good = ::write(descriptor, text.data(), text.size()) == ssize_t(text.size());
      const int reason = errno;
      ::close(descriptor);
      path_ = path;
      if (!good) refuse(Refusal::kDisk, "{}: cannot be written: {}", path.string(), std::strerror(reason));
      return true;
    }
    if (errno != EEXIST) refuse(Refusal::kDisk, "{}: cannot be made: {}", path.string(), std::strerror(errno));
    if (owner_lives(path) || !remove_dead(path)) return false;
  }
  return false;
}

void OwnerFile::heartbeat() const { ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0); }

OwnerFile::~OwnerFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

FileLock::FileLock(const fs::path& path, const std::atomic<bool>* cancel, const std::function<void()>& waiting) {
  make_folders(path.parent_path());
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  if (descriptor_ < 0) refuse(Refusal::kDisk, "{}: the lock cannot be opened: {}", path.string(), std::strerror(errno));
  bool told = false;
  while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return;  // no locks here: the owner file stands in
    if (cancel && cancel->load()) {
      ::close(descriptor_);
      refuse(Refusal::kInterrupted, "interrupted while waiting for another process at {}", path.string());
    }
    if (!told) waiting();
    told = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

FileLock::~FileLock() { ::close(descriptor_); }

int64_t remove_leftovers(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().filename().string().find(".updraft.") != std::string::npos) files.push_back(at->path());
  int64_t freed = 0;
  const auto remove = [&](const fs::path& file) {
    struct stat status {};
    if (::lstat(file.c_str(), &status) == 0 && ::unlink(file.c_str()) == 0) freed += status.st_blocks * 512;
  };
  for (const fs::path& file : files) {
    const std::string name = file.string();
    const size_t data = name.rfind(".updraft.incomplete"), record = name.rfind(".updraft.pieces");
    if (name.ends_with(".updraft.tmp")) {
      if (!temporary_lives(file)) remove(file);
    } else if (data != std::string::npos && name.size() > data + 19) {  // a private copy, or a version set aside
      std::string suffix = name.substr(data + 19);
      if (suffix.ends_with(".aside")) suffix.resize(suffix.size() - 6);
      if (!owner_lives(name.substr(0, data) + ".updraft.pieces" + suffix + ".owner")) remove(file);
    } else if (record != std::string::npos && name.size() > record + 15) {  // its record, or its owner file
      const bool owner = name.ends_with(".owner");
      if (owner_lives(owner ? name : name + ".owner")) continue;
      if (owner)
        remove_dead(file);
      else
        remove(file);
    } else if (record != std::string::npos) {  // a record whose file got its final name just before the end
      if (!is_there(name.substr(0, record) + ".updraft.incomplete") && !owner_lives(name + ".owner")) remove(file);
    }
  }
  return freed;
}

}  // namespace updraft::hub
