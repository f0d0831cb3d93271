// pull: a repository from wherever it can be had into the cache of huggingface_hub or a local folder. Promises that a
// file under its final name is complete and verified, and that the same command continues what was interrupted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/transfer.h"

namespace updraft::hub {

struct PullOptions {
  std::string repository, revision = "main";
  std::vector<std::string> include, exclude;
  fs::path cache;
  std::optional<fs::path> local_folder;
  bool offline = false;
  SourceSettings sources;
  TransferSettings transfer;
};

struct PullResult {
  fs::path folder;  // ready to be opened as a model
  std::string commit;
  int64_t bytes = 0;          // of the files asked for
  int64_t fetched_bytes = 0;  // over the network in this run
  int files = 0;
  bool from_cache = false;  // no network was used: from the cache, or offline from the local folder
  bool unverified = false;  // a plain directory told no hashes
  std::vector<std::string> from;
};

// Offline it succeeds where every file asked for is there, and names the first one that is not. Throws HubError.
PullResult pull(const PullOptions&);

// Throws HubError kDisk when less than `bytes` are free under `folder` (the nearest parent that exists).
void check_free_space(const fs::path& folder, int64_t bytes);

}  // namespace updraft::hub
