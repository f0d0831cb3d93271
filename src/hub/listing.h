// Listing: the files of a repository at one commit, with sizes and hashes, as the Hub, ModelScope, a manifest or a
// plain directory page tell them. Parsers take any bytes and end in a Listing or a HubError; every name is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace updraft::hub {

struct RemoteFile {
  std::string path;
  int64_t size = -1;     // -1: not told
  std::string git_sha1;  // of the git blob, or ""
  std::string sha256;    // of the bytes (large files), or ""
  std::string xet_hash;
  // What huggingface_hub calls the etag: the name of the blob.
  const std::string& etag() const { return sha256.empty() ? git_sha1 : sha256; }
};

struct Listing {
  std::string commit;  // 40 hexadecimal digits
  std::vector<RemoteFile> files;
};

inline constexpr size_t kMaxFiles = 100'000;

std::string parse_commit(std::string_view json, const std::string& host);  // GET api/models/ID/revision/R
void parse_tree_page(std::string_view json, const std::string& host, std::vector<RemoteFile>& files);
Listing parse_modelscope(std::string_view json, const std::string& host);
// One folder's answer of Modelers or GitCode: adds its files, sets the commit when it is told; returns the folders
// below.
std::vector<std::string> parse_modelers(std::string_view json, const std::string& host, Listing&);
// {"format": 1, "repository", "commit", "files": [{"path", "size", "sha256"}]}: a bundle's or a plain server's.
Listing parse_manifest(std::string_view json, const std::string& host);
std::string manifest_repository(std::string_view json);  // "" when it names none
std::string write_manifest(const std::string& repository, const Listing&);
// The links of a directory page: names of files, and names of folders with a trailing '/'. Unsafe names are left out.
std::vector<std::string> parse_directory_page(std::string_view html);
// huggingface_hub's trees/COMMIT.json
std::optional<std::vector<RemoteFile>> parse_trees(std::string_view json);
std::string write_trees(const std::vector<RemoteFile>&);

// The target of rel="next" in a Link header, or "".
std::string next_link(std::string_view link_header);
// "bytes 0-99/1000"
struct ContentRange {
  int64_t first = 0, last = 0, total = -1;  // total -1: unknown
};
std::optional<ContentRange> parse_content_range(std::string_view);
// Seconds to wait, from Retry-After (seconds or a date) or RateLimit ("resolvers";r=0;t=55).
std::optional<double> parse_wait(std::string_view retry_after, std::string_view rate_limit);
std::optional<int64_t> parse_integer(std::string_view);  // digits only, at most 2^62

// A stable 40-digit stand-in for a commit where the source has none: a hash of names, sizes and hashes.
std::string pseudo_commit(const std::vector<RemoteFile>&);

}  // namespace updraft::hub
