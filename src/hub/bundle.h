// A bundle: a model as one tar file for a machine without a network. The first member, updraft-manifest.json, lists the
// files with their hashes; the rest are the files in that order. Any tar program can read it; installing verifies.
#pragma once

#include <atomic>
#include <string>

#include "base/progress.h"
#include "hub/pull.h"

namespace updraft::hub {

struct BundleOptions {
  fs::path cache;
  std::string model;     // a folder, or a name in the cache
  std::string revision;  // of a name
  std::string name;      // of a folder: organisation/name, or "": local/<folder>
  fs::path out;
  const std::atomic<bool>* cancel = nullptr;
  ProgressCallback progress;
};
int64_t write_bundle(const BundleOptions&);  // returns its bytes; throws HubError

// Into options.cache or options.local_folder; files that are there already are not written again.
PullResult install_bundle(const fs::path& bundle, const PullOptions& options);

// One member's header (512 bytes) of a tar file; pax records are read by the caller.
struct TarHeader {
  std::string name;
  int64_t size = 0;
  char type = '0';
};
std::optional<TarHeader> parse_tar_header(std::string_view block);  // empty: not a header, or its checksum is wrong
std::string make_tar_header(const TarHeader&);                      // with a pax header before it where one is needed
// "27 path=...\n": the value of `key`, or "".
std::string pax_value(std::string_view records, std::string_view key);

}  // namespace updraft::hub
