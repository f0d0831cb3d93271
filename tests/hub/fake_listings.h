// What the hubs answer to "which files are there": Hugging Face's API, ModelScope's, and the one of Modelers and
// GitCode. For tests only; src/hub/source.h names where each protocol is described.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/hub/fake_repository.h"

namespace updraft::hub::test {

using nlohmann::json;

inline std::string revision_answer(const FakeRepository& repository) {
  json siblings = json::array();
  for (const auto& [path, file] : repository.files) siblings.push_back({{"rfilename", path}});
  return json({{"id", repository.id}, {"sha", repository.commit}, {"siblings", siblings}}).dump();
}

// `count` files from the `first` on.
inline std::string tree_answer(const FakeRepository& repository, size_t first, size_t count) {
  json entries = json::array({{{"type", "directory"}, {"path", "folder"}, {"oid", "x"}}});
  size_t i = 0;
  for (const auto& [path, file] : repository.files) {
    if (i++ < first || i > first + count) continue;
    json entry = {{"type", "file"}, {"path", path}, {"size", file.size}, {"oid", file.git_sha1}};
    if (file.large) entry["lfs"] = {{"oid", file.sha256}, {"size", file.size}, {"pointerSize", 134}};
    entries.push_back(std::move(entry));
  }
  return entries.dump();
}

inline std::string modelscope_answer(const FakeRepository& repository) {
  json files = json::array();
  for (const auto& [path, file] : repository.files)
    files.push_back({{"Type", "blob"}, {"Path", path}, {"Size", file.size}, {"Sha256", file.sha256}});
  files.push_back({{"Type", "tree"}, {"Path", "folder"}, {"Size", 0}});
  return json({{"Code", 200}, {"Success", true}, {"Data", {{"Files", files}}}}).dump();
}

// One folder: "" or "a/b". Folders below it are entries of type dir.
inline std::string modelers_answer(const FakeRepository& repository, const std::string& folder) {
  json tree = json::array();
  std::set<std::string> folders;
  const std::string prefix = folder.empty() ? "" : folder + "/";
  for (const auto& [path, file] : repository.files) {
    if (!path.starts_with(prefix)) continue;
    const size_t slash = path.find('/', prefix.size());
    if (slash != std::string::npos) {
      if (folders.insert(path.substr(0, slash)).second)
        tree.push_back({{"type", "dir"}, {"path", path.substr(0, slash)}});
      continue;
    }
    tree.push_back(
        {{"type", "file"}, {"path", path}, {"size", file.size}, {"etag", file.etag()}, {"is_lfs", file.large}});
  }
  return json({{"code", ""},
               {"data", {{"tree", tree}, {"last_commit", {{"commit", {{"commit_sha", repository.commit}}}}}}}})
      .dump();
}

}  // namespace updraft::hub::test
