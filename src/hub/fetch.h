// One fetch: a range of one file from one source into a sink, with every way a server can answer it wrongly told apart.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hub/source_pool.h"

namespace updraft::hub {

struct FetchRequest {
  const Source* source = nullptr;
  std::string repository;
  std::string path;
  std::string url;         // the source's own address of the file
  std::string direct_url;  // where it redirected to last time, or ""
  std::string known_etag;  // the strong ETag of the first reply, or ""
  int64_t file_size = 0;
  int64_t begin = 0, end = 0;  // the bytes wanted
  bool whole = false;          // the source knows no ranges: begin is 0, end the file's size
};

struct FetchOutcome {
  int64_t received = 0;
  std::string direct_url;  // for the next range; empty: none, or it expired
  std::string etag;
  bool ranged = false;   // answered with the range that was asked for
  bool changed = false;  // the server's file is another one than at the first reply; nothing was taken
  std::optional<FetchError> failure;
};

using Sink = std::function<void(int64_t position, std::span<const std::byte>)>;

// Never throws for what the network does; exceptions of the sink pass through.
FetchOutcome fetch_range(HttpClient&, const FetchRequest&, const Sink&);

// Throws HubError kNotTheFile when a file that begins so is an HTML page or an LFS pointer instead of `path`.
void check_beginning(const std::string& path, const std::string& host, std::span<const std::byte> first);

}  // namespace updraft::hub
