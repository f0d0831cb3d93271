// Job: one file under way: which pieces are taken, which source gave which bytes, and what is known against whom.
// Transfer guards it with its lock, except where a function says that it works while nobody else is at the file.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hub/part_file.h"
#include "hub/source_pool.h"

namespace updraft::hub {

inline constexpr int kKept = -1;  // from an earlier run: source unknown

// Bytes [begin, end) of a file came from `source`.
struct Segment {
  int64_t begin, end;
  int source;
  std::string sha256;  // only after a wrong hash
};

struct Job {
  const FileTask* task = nullptr;
  std::unique_ptr<PartFile> part;  // written by workers, each piece by one of them
  std::vector<bool> taken;         // per piece
  int in_flight = 0, changes = 0;
  bool whole = false;  // the source knows no ranges: all of the file at once
  bool closed = false, start_over = false;
  bool held = false;               // the driver rearranges the bytes: no new work
  std::atomic<int> generation{0};  // counts restarts, for the hasher
  int only_source = -1;            // after a wrong hash: wholly from this one
  std::set<int> banned;            // sources that cannot give this file
  std::map<int, int> strikes;      // answers that made no sense, although parts of the file are there
  std::map<int, HubError> errors;
  std::map<int, std::string> direct_urls, etags;
  std::vector<Segment> segments;  // of the bytes that are there
  std::vector<Segment> suspects;  // of bytes whose hash was wrong
  std::vector<Segment> aside;     // of the bytes that part keeps aside
  std::optional<HubError> error;

  Job(const FileTask&, int64_t piece_bytes);
  const std::string& path() const { return task->file.path; }
  const std::string& etag() const { return task->file.etag(); }

  // The first piece that is neither complete nor taken, or -1.
  int free_piece() const;
  std::set<int> givers() const;
  int64_t bytes_from(int source) const;
  // Forgets all bytes. The hasher notices.
  void restart();
  // Nobody else is at the file: sets its bytes aside and begins anew with those of them whose source is `trusted`.
  // Where the disk has no room for both versions, with nothing.
  void begin_again_with(const std::function<bool(int source)>& trusted);
  // Again from the version that is aside.
  void rebuild_with(const std::function<bool(int source)>& trusted);

 private:
  void copy_from_aside(const std::function<bool(int source)>& trusted);
};

std::string segment_digest(const PartFile&, const Segment&);  // "" when the file is shorter

}  // namespace updraft::hub
