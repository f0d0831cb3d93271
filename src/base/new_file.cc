#include "base/new_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace updraft {

namespace fs = std::filesystem;

namespace {

// Where a write to the path arrives: a link's end, though nothing may be there yet.
fs::path end_of_links(fs::path path) {
  std::error_code error;
  for (int links = 0; links < 32 && fs::is_symlink(path, error); ++links) {
    const fs::path target = fs::read_symlink(path, error);
    if (error) break;
    path = target.is_absolute() ? target : path.parent_path() / target;
  }
  return path;
}

}  // namespace

NewFile::NewFile(const fs::path& path) : path_(path), place_(end_of_links(path)) {
  std::error_code error;
  if (fs::is_directory(place_, error)) cannot(EISDIR);
  if (!fs::exists(place_, error) || fs::is_regular_file(place_, error))
    temporary_ = fmt::format("{}.{}.incomplete", place_.string(), getpid());
  file_ = std::fopen(temporary_.empty() ? place_.c_str() : temporary_.c_str(), "wb");
  if (file_ == nullptr) cannot(errno);
}

NewFile::~NewFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  if (!temporary_.empty()) std::remove(temporary_.c_str());
}

void NewFile::write(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) cannot(errno);
}

void NewFile::finish() {
  if (std::fflush(file_) != 0) cannot(errno);
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (closed && (temporary_.empty() || std::rename(temporary_.c_str(), place_.c_str()) == 0)) return;
  const int why = errno;
  if (!temporary_.empty()) std::remove(temporary_.c_str());
  cannot(why);
}

void NewFile::cannot(int error) const { fail("{}: cannot be written: {}", path_.string(), std::strerror(error)); }

void refuse_unwritable(const fs::path& path) {
  const fs::path place = end_of_links(path), folder = place.parent_path();
  std::error_code error;
  if (fs::is_directory(place, error))
    fail("{}: cannot be written: it is a folder; give the path of a file.", path.string());
  const bool is_device = fs::exists(place, error) && !fs::is_regular_file(place, error);
  if (access(is_device ? place.c_str() : folder.empty() ? "." : folder.c_str(), W_OK) != 0)
    fail("{}: cannot be written: {}; give a path in a folder that is there and can be written.", path.string(),
         std::strerror(errno));
}

void write_text_file(const fs::path& path, std::string_view text) {
  NewFile file(path);
  file.write(text);
  file.finish();
}

}  // namespace updraft
