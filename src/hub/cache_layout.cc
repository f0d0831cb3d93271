#include "hub/cache_layout.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "hub/digest.h"
#include "hub/file_lock.h"
#include "hub/hub_error.h"
#include "hub/names.h"
#include "hub/selection.h"

namespace updraft::hub {
namespace {

constexpr std::string_view kCacheTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file marks a cache folder (https://bford.info/cachedir/): backups may leave it out.\n";

std::optional<std::string> read_small(const fs::path& path) {
  if (!is_there(path)) return std::nullopt;
  try {
    return read_text_file(path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

bool is_good_file(const fs::path& path, int64_t size) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && (size < 0 || status.st_size == size);
}

std::string folder_name(const std::string& id) {
  std::string name = "models--" + id;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

std::optional<std::string> repository_of(const std::string& folder) {
  if (!folder.starts_with("models--")) return std::nullopt;
  std::string id = folder.substr(8);
  if (const size_t dashes = id.find("--"); dashes != std::string::npos) id.replace(dashes, 2, "/");
  return is_repository_id(id) ? std::optional(id) : std::nullopt;
}

fs::path Cache::repository(const std::string& id) const { return root_ / folder_name(id); }
fs::path Cache::snapshot(const std::string& id, const std::string& commit) const {
  return repository(id) / "snapshots" / commit;
}

FilePlace Cache::place(const std::string& id, const std::string& commit, const std::string& path,
                       const std::string& blob) const {
  const fs::path blobs = repository(id) / "blobs";
  FilePlace place;
  place.final_path = blobs / blob;
  place.pointer = snapshot(id, commit) / path;
  place.unfinished = blobs / (blob + ".updraft.incomplete");
  place.pieces = blobs / (blob + ".updraft.pieces");
  place.lock = root_ / ".locks" / folder_name(id) / (blob + ".lock");
  return place;
}

std::optional<std::string> Cache::read_ref(const std::string& id, const std::string& revision) const {
  auto text = read_small(repository(id) / "refs" / revision);
  if (!text) return std::nullopt;
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  return is_commit(*text) ? text : std::nullopt;
}

void Cache::write_ref(const std::string& id, const std::string& revision, const std::string& commit) const {
  if (revision == commit || read_ref(id, revision) == commit) return;
  write_atomically(repository(id) / "refs" / revision, commit);
}

std::optional<std::vector<RemoteFile>> Cache::read_trees(const std::string& id, const std::string& commit) const {
  const auto text = read_small(repository(id) / "trees" / (commit + ".json"));
  return text ? parse_trees(*text) : std::nullopt;
}

void Cache::write_trees(const std::string& id, const std::string& commit, const std::vector<RemoteFile>& files) const {
  write_atomically(repository(id) / "trees" / (commit + ".json"), hub::write_trees(files));
}

void Cache::prepare(const std::string& id) const {
  make_folders(repository(id) / "blobs");
  make_folders(root_ / ".locks" / folder_name(id));
  if (!is_there(root_ / "CACHEDIR.TAG")) write_atomically(root_ / "CACHEDIR.TAG", kCacheTag);
}

std::optional<fs::path> Cache::find(const std::string& id, const std::string& revision) const {
  const std::optional<std::string> commit = is_commit(revision) ? revision : read_ref(id, revision);
  if (!commit) return std::nullopt;
  const fs::path folder = snapshot(id, *commit);
  return is_complete_model(folder, read_trees(id, *commit)) ? std::optional(folder) : std::nullopt;
}

std::vector<std::string> Cache::repositories() const {
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator at(root_, error), end; !error && at != end; at.increment(error))
    if (const auto id = repository_of(at->path().filename().string())) ids.push_back(*id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

bool is_complete_model(const fs::path& folder, const std::optional<std::vector<RemoteFile>>& trees) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return false;
  bool gguf = false;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(".gguf") && is_good_file(at->path(), -1)) gguf = true;
    if (!name.ends_with(".index.json")) continue;
    const auto text = read_small(at->path());
    const auto index = nlohmann::json::parse(text.value_or(""), nullptr, false);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) return false;
    for (const auto& [tensor, shard] : index["weight_map"].items())
      if (!shard.is_string() || !is_safe_path(shard.get<std::string>()) ||
          !is_good_file(at->path().parent_path() / shard.get<std::string>(), -1))
        return false;
  }
  if (gguf) return true;
  if (!is_good_file(folder / "config.json", -1)) return false;
  if (!trees) {
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename().string();
      if ((name.ends_with(".safetensors") || name.ends_with(".bin")) && is_good_file(at->path(), -1)) return true;
    }
    return false;
  }
  try {
    const Selection needed = select({"", *trees}, {}, {});
    return std::all_of(needed.files.begin(), needed.files.end(),
                       [&](const RemoteFile& file) { return is_good_file(folder / file.path, file.size); });
  } catch (const HubError&) {
    return false;
  }
}

Cache local_record(const fs::path& folder) { return Cache(folder / ".cache" / "huggingface"); }

FilePlace local_place(const fs::path& folder, const std::string& path, const std::string& blob) {
  const fs::path downloads = folder / ".cache" / "huggingface" / "download";
  FilePlace place;
  place.final_path = folder / path;
  place.metadata = downloads / (path + ".metadata");
  place.lock = downloads / (path + ".lock");
  const std::string stem = downloads / (path + "." + blob.substr(0, 64));
  place.unfinished = stem + ".updraft.incomplete";
  place.pieces = stem + ".updraft.pieces";
  return place;
}

void prepare_local(const fs::path& folder) {
  const fs::path own = folder / ".cache" / "huggingface";
  make_folders(own / "download");
  if (!is_there(own / ".gitignore")) write_atomically(own / ".gitignore", "*");
  if (!is_there(own / "CACHEDIR.TAG")) write_atomically(own / "CACHEDIR.TAG", kCacheTag);
}

std::optional<LocalMetadata> parse_metadata(std::string_view text) {
  std::string_view lines[3];
  for (std::string_view& line : lines) {
    const size_t end = text.find('\n');
    line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  LocalMetadata metadata{std::string(lines[0]), std::string(lines[1]), 0};
  const auto [end, error] = std::from_chars(lines[2].data(), lines[2].data() + lines[2].size(), metadata.timestamp);
  if (error != std::errc() || end != lines[2].data() + lines[2].size() || !is_commit(metadata.commit))
    return std::nullopt;
  if (!is_hex(metadata.etag, 40) && !is_hex(metadata.etag, 64)) return std::nullopt;
  return metadata;
}

void write_metadata(const FilePlace& place, const std::string& commit, const std::string& etag) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  write_atomically(place.metadata, fmt::format("{}\n{}\n{:.6f}\n", commit, etag, now));
}

std::optional<std::string> local_etag(const FilePlace& place) {
  const auto text = read_small(place.metadata);
  const auto metadata = text ? parse_metadata(*text) : std::nullopt;
  struct stat status {};
  if (!metadata || ::stat(place.final_path.c_str(), &status) != 0) return std::nullopt;
  const double changed = double(status.st_mtim.tv_sec) + double(status.st_mtim.tv_nsec) * 1e-9;
  return changed - 1 <= metadata->timestamp ? std::optional(metadata->etag) : std::nullopt;
}

bool is_right_local_file(const FilePlace& place, const RemoteFile& file) {
  if (file.etag().empty() || !is_good_file(place.final_path, file.size)) return false;
  return local_etag(place) == file.etag() || file_digest(place.final_path, file.etag()) == file.etag();
}

void link_pointer(const FilePlace& place, bool no_links) {
  make_folders(place.pointer.parent_path());
  const fs::path target = fs::relative(place.final_path, place.pointer.parent_path());
  std::error_code error;
  if (fs::is_symlink(place.pointer, error) && fs::read_symlink(place.pointer, error) == target) return;
  const fs::path temporary = temporary_name(place.pointer);
  fs::remove(temporary, error);
  int reason = 0;
  if (!no_links) {
    if (::symlink(target.c_str(), temporary.c_str()) == 0 && ::rename(temporary.c_str(), place.pointer.c_str()) == 0) {
      sync_folder(place.pointer.parent_path());
      return;
    }
    reason = errno;
    fs::remove(temporary, error);
    if (reason == ENOSPC || reason == EDQUOT || reason == EACCES || reason == EROFS)
      refuse(Refusal::kDisk, "{}: the link cannot be made: {}", place.pointer.string(), std::strerror(reason));
  }
  if (::rename(place.final_path.c_str(), place.pointer.c_str()) != 0)
    refuse(Refusal::kDisk, "{}: cannot be moved to {}: {}", place.final_path.string(), place.pointer.string(),
           std::strerror(errno));
  sync_folder(place.pointer.parent_path());
}

void make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) refuse(Refusal::kDisk, "{}: this folder cannot be made: {}", folder.string(), error.message());
}

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

void write_atomically(const fs::path& path, std::string_view text) {
  make_folders(path.parent_path());
  const std::string temporary = temporary_name(path);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  bool good = descriptor >= 0;
  while (good && !text.empty()) {
    const ssize_t wrote = ::write(descriptor, text.data(), text.size());
    good = wrote > 0 || (wrote < 0 && errno == EINTR);
    if (wrote > 0) text.remove_prefix(size_t(wrote));
  }
  good = good && ::fsync(descriptor) == 0;
  int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (good && ::rename(temporary.c_str(), path.c_str()) == 0) return;
  if (good) reason = errno;
  ::unlink(temporary.c_str());
  refuse(Refusal::kDisk, "{}: cannot be written: {}", path.string(), std::strerror(reason));
}

}  // namespace updraft::hub
