#include "hub/models.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "hub/digest.h"
#include "hub/hub_error.h"
#include "hub/names.h"

namespace updraft::hub {
namespace {

std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->is_regular_file(error) && !at->is_symlink(error)) files.push_back(at->path());
  std::sort(files.begin(), files.end());
  return files;
}

int64_t size_of(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : int64_t(size);
}

// Links that lead nowhere: a blob is missing.
std::vector<std::string> broken_links(const fs::path& snapshots) {
  std::vector<std::string> wrong;
  std::error_code error;
  for (fs::recursive_directory_iterator at(snapshots, error), end; !error && at != end; at.increment(error))
    if (at->is_symlink(error) && !is_there(at->path()))
      wrong.push_back(fmt::format("{}: its blob is missing", at->path().string()));
  return wrong;
}

}  // namespace

std::vector<CachedModel> list_models(const Cache& cache) {
  std::vector<CachedModel> models;
  for (const std::string& id : cache.repositories()) {
    CachedModel model;
    model.id = id;
    const fs::path folder = cache.repository(id);
    for (const char* part : {"blobs", "snapshots"})
      for (const fs::path& file : files_below(folder / part)) {
        const std::string name = file.filename().string();
        if (name.find(".incomplete") != std::string::npos)
          model.unfinished_bytes += size_of(file);
        else if (name.find(".updraft.") == std::string::npos)
          model.bytes += size_of(file);
      }
    for (const fs::path& ref : files_below(folder / "refs")) {
      const std::string name = fs::relative(ref, folder / "refs").generic_string();
      if (const auto commit = cache.read_ref(id, name)) model.revisions[name] = *commit;
    }
    std::error_code error;
    for (fs::directory_iterator at(folder / "snapshots", error), end; !error && at != end; at.increment(error)) {
      model.commits.push_back(at->path().filename().string());
      model.complete |= is_complete_model(at->path(), cache.read_trees(id, model.commits.back()));
    }
    std::sort(model.commits.begin(), model.commits.end());
    models.push_back(std::move(model));
  }
  return models;
}

Verification verify_model(const Cache& cache, const std::string& id, const ProgressCallback& progress) {
  const fs::path folder = cache.repository(id);
  if (!is_there(folder)) refuse(Refusal::kNoRepository, "{}: not in the cache {}", id, cache.root().string());
  Verification result;
  result.wrong = broken_links(folder / "snapshots");
  std::vector<std::pair<fs::path, std::string>> checks;
  for (const fs::path& blob : files_below(folder / "blobs")) {
    const std::string name = blob.filename().string();
    if (is_hex(name, 64) || is_hex(name, 40)) checks.emplace_back(blob, name);
  }
  // Where links are not possible the files lie in the snapshots, and the list of the commit knows their hashes.
  std::error_code error;
  for (fs::directory_iterator at(folder / "snapshots", error), end; !error && at != end; at.increment(error)) {
    const auto trees = cache.read_trees(id, at->path().filename().string());
    for (const RemoteFile& file : trees.value_or(std::vector<RemoteFile>()))
      if (fs::is_regular_file(at->path() / file.path, error) && !fs::is_symlink(at->path() / file.path, error))
        checks.emplace_back(at->path() / file.path, file.etag());
  }
  Progress report{"verifying " + id, 0, 0, "B"};
  for (const auto& [path, etag] : checks) report.total += size_of(path);
  for (const auto& [path, etag] : checks) {
    const std::string hash = file_digest(path, etag);
    if (hash != etag)
      result.wrong.push_back(fmt::format("{}: its hash is {}: remove it and pull again", path.string(), hash));
    ++result.files;
    result.bytes += size_of(path);
    report.done = result.bytes;
    if (progress) progress(report);
  }
  return result;
}

int64_t remove_model(const Cache& cache, const std::string& id) {
  check_repository_id(id);
  const fs::path folder = cache.repository(id);
  if (!is_there(folder)) refuse(Refusal::kNoRepository, "{}: not in the cache {}", id, cache.root().string());
  int64_t bytes = 0;
  for (const fs::path& file : files_below(folder)) bytes += size_of(file);
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) refuse(Refusal::kDisk, "{}: cannot be removed: {}", folder.string(), error.message());
  fs::remove_all(cache.root() / ".locks" / folder_name(id), error);
  return bytes;
}

}  // namespace updraft::hub
