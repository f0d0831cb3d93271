// PartFile: a file on its way: its bytes so far, and beside it a record of which parts of it are there. Bytes are
// written before the record says so, so after kill -9 the record is never ahead of the file. After a power cut (another
// boot) only what was flushed counts. One writer at a time: an owner file guards where locks lie.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hub/file_lock.h"

namespace updraft::hub {

struct PieceRecord {
  int64_t written = 0;  // bytes from the piece's beginning
  int64_t durable = 0;  // of these, flushed to the disk
};
struct PartRecord {
  std::string etag, boot;
  int64_t size = 0, piece_bytes = 0;
  std::vector<PieceRecord> pieces;
};
// Any bytes; empty when they are no record of a part file.
std::optional<PartRecord> parse_part_record(std::string_view bytes);

class PartFile {
 public:
  // Opens what an earlier run left, or starts anew. When another living process is at the same file although the lock
  // was granted, works on a private copy instead. Throws HubError kDisk.
  PartFile(const FilePlace&, const std::string& etag, int64_t size, int64_t piece_bytes);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  int64_t size() const { return size_; }
  int pieces() const { return int(pieces_.size()); }
  int64_t begin(int piece) const { return piece * piece_bytes_; }
  int64_t length(int piece) const { return std::min(piece_bytes_, size_ - begin(piece)); }
  int64_t done(int piece) const { return pieces_[size_t(piece)].done.load(); }
  int64_t done() const;      // all bytes that are there
  int64_t frontier() const;  // bytes from the file's beginning without a gap

  // Appends to what is there of the pieces from `position` on; each piece is filled from its beginning.
  void write(int64_t position, std::span<const std::byte>);
  bool read(int64_t position, std::span<std::byte>) const;  // false: the file is shorter
  void reset();                                             // forgets all bytes
  void flush();                                             // to the disk, then into the record
  void finish(const fs::path& final_path);  // complete and right: flushed and renamed; the record is removed
  void heartbeat() const { owner_.heartbeat(); }

  // Begins anew and keeps the bytes so far to read from, until drop_aside() or the end.
  // False when the disk has no room for both: then nothing changed.
  bool set_aside();
  bool has_aside() const { return aside_ >= 0; }
  bool read_aside(int64_t position, std::span<std::byte>) const;
  void drop_aside();

 private:
  struct Piece {
    std::atomic<int64_t> done{0};
  };
  void open_files();
  void claim();
  void store(int piece, int64_t written) const;
  bool load();
  void close_files();
  void forget();  // as reset(), with flush_ held
  fs::path aside_path() const { return place_.unfinished.string() + ".aside"; }

  FilePlace place_;
  std::string etag_;
  int64_t size_, piece_bytes_;
  std::vector<Piece> pieces_;
  OwnerFile owner_;
  int data_ = -1, record_ = -1, aside_ = -1;
  bool private_ = false;
  std::mutex flush_;
};

}  // namespace updraft::hub
