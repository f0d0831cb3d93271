// The places of huggingface_hub's cache and of its --local-dir, so that Python tools find what Updraft pulled and the
// reverse. Every write of a small file is atomic (a temporary name, fsync, rename).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/listing.h"

namespace updraft::hub {

namespace fs = std::filesystem;

// Where one file goes and where its unfinished state lives.
struct FilePlace {
  fs::path final_path;  // the blob, or the file in the local folder
  fs::path pointer;     // the snapshot's link; empty for a local folder
  fs::path unfinished;  // data so far
  fs::path pieces;      // which parts of it are there
  fs::path lock;
  fs::path metadata;  // local folder only
};

class Cache {
 public:
  explicit Cache(fs::path root) : root_(std::move(root)) {}
  const fs::path& root() const { return root_; }
  fs::path repository(const std::string& id) const;
  fs::path snapshot(const std::string& id, const std::string& commit) const;
  FilePlace place(const std::string& id, const std::string& commit, const std::string& path,
                  const std::string& blob) const;

  // The commit a revision meant when it was last pulled.
  std::optional<std::string> read_ref(const std::string& id, const std::string& revision) const;
  void write_ref(const std::string& id, const std::string& revision, const std::string& commit) const;
  std::optional<std::vector<RemoteFile>> read_trees(const std::string& id, const std::string& commit) const;
  void write_trees(const std::string& id, const std::string& commit, const std::vector<RemoteFile>&) const;
  void prepare(const std::string& id) const;  // folders and CACHEDIR.TAG

  // The snapshot's folder when the revision is here with every file that running it needs.
  std::optional<fs::path> find(const std::string& id, const std::string& revision) const;
  std::vector<std::string> repositories() const;

 private:
  fs::path root_;
};

std::string folder_name(const std::string& id);                       // models--org--name
std::optional<std::string> repository_of(const std::string& folder);  // the reverse

// What a --local-dir remembers of the repositories in it: their listings and what revisions meant, never files.
Cache local_record(const fs::path& folder);
// A file of a --local-dir.
FilePlace local_place(const fs::path& folder, const std::string& path, const std::string& blob);
void prepare_local(const fs::path& folder);
struct LocalMetadata {
  std::string commit, etag;
  double timestamp = 0;
};
std::optional<LocalMetadata> parse_metadata(std::string_view);
void write_metadata(const FilePlace&, const std::string& commit, const std::string& etag);
// The etag a local file was downloaded with, if it has not been touched since.
std::optional<std::string> local_etag(const FilePlace&);

// Whether the file is there with the size and hash of the listing: by its metadata where nobody has touched it since,
// else by reading it. False where the listing tells no hash.
bool is_right_local_file(const FilePlace&, const RemoteFile&);

// Links pointer -> final_path relatively; where links are not possible, moves the file there instead.
void link_pointer(const FilePlace&, bool no_links);

bool is_good_file(const fs::path&, int64_t size);  // regular, and of this size; -1: of any

// Whether the model in this folder is complete: a config, and every shard an index names.
bool is_complete_model(const fs::path& folder, const std::optional<std::vector<RemoteFile>>& trees);

void write_atomically(const fs::path&, std::string_view text);  // throws HubError kDisk
void make_folders(const fs::path&);                             // throws HubError kDisk
void sync_folder(const fs::path&);                              // fsync of the folder; best effort

}  // namespace updraft::hub
