// What is in the cache: listing, verifying and removing models.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "hub/cache_layout.h"

namespace updraft::hub {

struct CachedModel {
  std::string id;
  int64_t bytes = 0;                             // of its blobs
  int64_t unfinished_bytes = 0;                  // of downloads that were interrupted
  std::map<std::string, std::string> revisions;  // branch or tag -> commit
  std::vector<std::string> commits;              // with a snapshot folder
  bool complete = false;                         // some snapshot can be run
};
std::vector<CachedModel> list_models(const Cache&);

struct Verification {
  int files = 0;
  int64_t bytes = 0;
  std::vector<std::string> wrong;  // one sentence per file
};
// Hashes every file of the model again. Blobs are named by their hash; a file without one is told as not checkable.
Verification verify_model(const Cache&, const std::string& id, const ProgressCallback&);

// Returns the bytes that were freed; throws HubError kNoRepository when it is not in the cache.
int64_t remove_model(const Cache&, const std::string& id);

}  // namespace updraft::hub
