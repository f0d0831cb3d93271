// Transfer: the bytes of several files, from a pool of sources, through parallel ranges. A file continues at the same
// byte from the next source when one fails; it gets its final name only when every byte is there and its hash is right;
// a source that sent wrong bytes is dropped. Memory does not grow with the files.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hub/cache_layout.h"
#include "hub/http.h"
#include "hub/source.h"

namespace updraft::hub {

struct FileProgress {
  std::string path;
  int64_t done = 0, total = 0;
};
struct PullProgress {
  std::vector<FileProgress> active;  // the files under way
  int64_t done = 0, total = 0;       // bytes of all files; what an earlier run left counts as done
  int files_done = 0, files = 0;
};

// How hard to try. Tests make it impatient.
struct Patience {
  int attempts = 6;      // failures of a source in a row before it is given up
  double backoff_s = 1;  // doubles with each failure
  double longest_backoff_s = 30;
  double longest_wait_s = 3600;  // a 429 that asks for more than this ends the source
};

struct TransferSettings {
  HttpSettings http;
  Patience patience;
  int connections = 8;
  int files_in_parallel = 4;
  int64_t piece_bytes = 16 << 20;
  int64_t max_bytes_per_s = 0;  // 0: as fast as it goes
  double flush_every_s = 15;
  bool use_locks = true;  // false: as on file systems where locks lie
  bool no_links = false;
  std::function<void(const PullProgress&)> progress;  // ten times a second, from run()'s thread
  std::function<void(const std::string&)> message;    // from any one thread at a time
};

struct FileTask {
  RemoteFile file;
  FilePlace place;
};

struct TransferPlan {
  std::string repository, revision;
  Listing listing;     // of `primary`
  size_t primary = 0;  // the source that listed
  std::vector<Source> sources;
  std::vector<FileTask> tasks;
  fs::path cache_blobs;  // where a blob without a known hash goes; empty: a local folder
};

struct TransferResult {
  int64_t fetched_bytes = 0;      // over the network
  std::vector<std::string> from;  // names of the sources that gave bytes
};

// Throws HubError. What is there by then is kept for the next run.
TransferResult transfer(const TransferPlan&, const TransferSettings&);

}  // namespace updraft::hub
