// Who works at a file: the lock that huggingface_hub takes too, and an owner file for file systems where locks lie.
// An owner that was killed is recognised by its process, so that nobody waits for it and nothing of it stays for ever.
#pragma once

#include <atomic>
#include <functional>

#include "hub/cache_layout.h"

namespace updraft::hub {

// A lock of huggingface_hub's kind (flock). Waits, calling `waiting` once when it has to; throws HubError kInterrupted.
class FileLock {
 public:
  FileLock(const fs::path&, const std::atomic<bool>* cancel, const std::function<void()>& waiting);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

// "boot process start namespace" in a file that only one process can make.
class OwnerFile {
 public:
  OwnerFile() = default;
  ~OwnerFile();
  OwnerFile(const OwnerFile&) = delete;
  OwnerFile& operator=(const OwnerFile&) = delete;

  // False when a living process has it; what a dead one left is taken over. Throws HubError kDisk.
  bool claim(const fs::path&);
  void heartbeat() const;  // tells other machines, which cannot see our process, that it lives

 private:
  fs::path path_;
};

// Whether the process that made this owner file may still be at work; false when there is no such file.
bool owner_lives(const fs::path& owner);

std::string boot_id();  // of this machine, "" when unknown
// A name beside `path` that no other thread or process uses, and that remove_leftovers() knows.
fs::path temporary_name(const fs::path&);

// Removes what killed processes left below `folder` and nobody can continue: private copies, temporary names.
// Returns the bytes that were freed.
int64_t remove_leftovers(const fs::path& folder);

}  // namespace updraft::hub
