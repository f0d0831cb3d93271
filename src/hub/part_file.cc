#include "hub/part_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "hub/hub_error.h"

namespace updraft::hub {
namespace {

// The record: a head of fixed size, then one PieceRecord per piece, in this machine's byte order (it never travels).
struct RecordHead {
  char magic[24];
  char etag[72];
  char boot[40];
  int64_t size, piece_bytes;
};
constexpr char kMagic[24] = "updraft part record 1\n";
constexpr int64_t kSmallestPiece = 64 << 10;
constexpr int64_t kMostPieces = 1 << 20;
constexpr int64_t kSpareBytes = 64 << 20;  // what setting a version aside leaves free

[[noreturn]] void disk_error(const fs::path& path, const char* what) {
  const int reason = errno;
  refuse(
      Refusal::kDisk, "{}: {}: {}{}", path.string(), what, std::strerror(reason),
      reason == ENOSPC || reason == EDQUOT ? "; what is there is kept: make room and run the same command again" : "");
}

void write_all(int descriptor, const void* data, size_t bytes, int64_t offset, const fs::path& path) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(descriptor, at, bytes, offset);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) disk_error(path, "cannot be written");
    at += wrote, offset += wrote, bytes -= size_t(wrote);
  }
}

bool read_all(int descriptor, int64_t position, std::span<std::byte> out, const fs::path& path) {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor, out.data(), out.size(), position);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) disk_error(path, "cannot be read");
    if (got == 0) return false;
    out = out.subspan(size_t(got));
    position += got;
  }
  return true;
}

}  // namespace

std::optional<PartRecord> parse_part_record(std::string_view bytes) {
  RecordHead head;
  if (bytes.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0 || head.etag[71] != 0 || head.boot[39] != 0)
    return std::nullopt;
  if (head.size <= 0 || head.piece_bytes < kSmallestPiece || head.size > (int64_t(1) << 50)) return std::nullopt;
  const int64_t count = (head.size - 1) / head.piece_bytes + 1;
  if (count > kMostPieces || bytes.size() != sizeof head + size_t(count) * sizeof(PieceRecord)) return std::nullopt;
  PartRecord record{head.etag, head.boot, head.size, head.piece_bytes, {}};
  record.pieces.resize(size_t(count));
  std::memcpy(record.pieces.data(), bytes.data() + sizeof head, size_t(count) * sizeof(PieceRecord));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t length = std::min(head.piece_bytes, head.size - i * head.piece_bytes);
    const PieceRecord& piece = record.pieces[size_t(i)];
    if (piece.written < 0 || piece.written > length || piece.durable < 0 || piece.durable > length) return std::nullopt;
  }
  return record;
}

PartFile::PartFile(const FilePlace& place, const std::string& etag, int64_t size, int64_t piece_bytes)
    : place_(place),
      etag_(etag),
      size_(size),
      piece_bytes_(std::max({piece_bytes, kSmallestPiece, size / kMostPieces + 1})) {
  claim();
  try {
    ::unlink(aside_path().c_str());  // of a run that was killed
    if (!load()) {
      pieces_ = std::vector<Piece>(size_t(size_ == 0 ? 0 : (size_ - 1) / piece_bytes_ + 1));
      open_files();
      reset();
    }
  } catch (...) {
    close_files();
    throw;
  }
}

PartFile::~PartFile() { close_files(); }

void PartFile::close_files() {
  drop_aside();
  if (data_ >= 0) ::close(data_);
  if (record_ >= 0) ::close(record_);
  if (!private_) return;  // a private copy is of no use to anyone else
  ::unlink(place_.unfinished.c_str());
  ::unlink(place_.pieces.c_str());
}

void PartFile::claim() {
  make_folders(place_.unfinished.parent_path());
  if (owner_.claim(place_.pieces.string() + ".owner")) return;
  // The lock lied: never two writers in one file.
  private_ = true;
  const FilePlace shared = place_;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string suffix = fmt::format(".{}{}", ::getpid(), attempt == 0 ? "" : fmt::format("-{}", attempt));
    place_.unfinished = shared.unfinished.string() + suffix;
    place_.pieces = shared.pieces.string() + suffix;
    if (owner_.claim(place_.pieces.string() + ".owner")) return;
  }
  refuse(Refusal::kDisk, "{}: every name for a private copy is taken", shared.unfinished.string());
}

void PartFile::open_files() {
  data_ = ::open(place_.unfinished.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (data_ < 0) disk_error(place_.unfinished, "cannot be opened");
  record_ = ::open(place_.pieces.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (record_ < 0) disk_error(place_.pieces, "cannot be opened");
}

bool PartFile::load() {
  if (!is_there(place_.pieces) || !is_there(place_.unfinished)) return false;
  std::optional<PartRecord> record;
  try {
    record = parse_part_record(read_text_file(place_.pieces));
  } catch (const Error&) {
    return false;
  }
  if (!record || record->etag != etag_.substr(0, 71) || record->size != size_) return false;
  open_files();
  struct stat status {};
  if (::fstat(data_, &status) != 0) disk_error(place_.unfinished, "cannot be read");
  piece_bytes_ = record->piece_bytes;
  pieces_ = std::vector<Piece>(record->pieces.size());
  const bool same_boot = !boot_id().empty() && record->boot == boot_id();
  for (int i = 0; i < pieces(); ++i) {
    const PieceRecord& piece = record->pieces[size_t(i)];
    const int64_t kept = same_boot ? piece.written : piece.durable;
    const int64_t held = std::clamp<int64_t>(status.st_size - begin(i), 0, length(i));
    pieces_[size_t(i)].done = std::min(kept, held);
    if (pieces_[size_t(i)].done != piece.written) store(i, pieces_[size_t(i)].done);
  }
  if (!same_boot) {
    RecordHead head{};
    boot_id().copy(head.boot, sizeof head.boot - 1);
    write_all(record_, head.boot, sizeof head.boot, offsetof(RecordHead, boot), place_.pieces);
  }
  return true;
}

void PartFile::store(int piece, int64_t written) const {
  const int64_t at = int64_t(sizeof(RecordHead)) + piece * int64_t(sizeof(PieceRecord));
  write_all(record_, &written, sizeof written, at, place_.pieces);
}

int64_t PartFile::done() const {
  int64_t sum = 0;
  for (const Piece& piece : pieces_) sum += piece.done.load();
  return sum;
}

int64_t PartFile::frontier() const {
  for (int i = 0; i < pieces(); ++i)
    if (const int64_t there = done(i); there < length(i)) return begin(i) + there;
  return size_;
}

void PartFile::write(int64_t position, std::span<const std::byte> bytes) {
  write_all(data_, bytes.data(), bytes.size(), position, place_.unfinished);
  const int64_t end = position + int64_t(bytes.size());
  for (int piece = int(position / piece_bytes_); piece < pieces() && begin(piece) < end; ++piece) {
    const int64_t there = std::min(end - begin(piece), length(piece));
    store(piece, there);
    pieces_[size_t(piece)].done.store(there);
    // Writing to the disk starts now, so that the flush at the end is short.
    if (there == length(piece)) ::sync_file_range(data_, begin(piece), there, SYNC_FILE_RANGE_WRITE);
  }
}

bool PartFile::read(int64_t position, std::span<std::byte> out) const {
  return read_all(data_, position, out, place_.unfinished);
}

bool PartFile::read_aside(int64_t position, std::span<std::byte> out) const {
  return read_all(aside_, position, out, aside_path());
}

bool PartFile::set_aside() {
  struct statvfs space {};
  if (::fstatvfs(data_, &space) != 0 || int64_t(space.f_bavail) * int64_t(space.f_frsize) < size_ + kSpareBytes)
    return false;
  const std::lock_guard<std::mutex> guard(flush_);
  drop_aside();
  if (::rename(place_.unfinished.c_str(), aside_path().c_str()) != 0) disk_error(aside_path(), "cannot be made");
  aside_ = data_;
  data_ = ::open(place_.unfinished.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (data_ < 0) disk_error(place_.unfinished, "cannot be opened");
  forget();
  return true;
}

void PartFile::drop_aside() {
  if (aside_ < 0) return;
  ::close(aside_);
  ::unlink(aside_path().c_str());
  aside_ = -1;
}

void PartFile::reset() {
  const std::lock_guard<std::mutex> guard(flush_);
  forget();
}

void PartFile::forget() {
  for (Piece& piece : pieces_) piece.done = 0;
  if (::ftruncate(record_, 0) != 0 || ::ftruncate(data_, 0) != 0) disk_error(place_.unfinished, "cannot be emptied");
  RecordHead head{};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  etag_.copy(head.etag, sizeof head.etag - 1);
  boot_id().copy(head.boot, sizeof head.boot - 1);
  head.size = size_;
  head.piece_bytes = piece_bytes_;
  std::vector<std::byte> bytes(sizeof head + pieces_.size() * sizeof(PieceRecord));
  std::memcpy(bytes.data(), &head, sizeof head);
  write_all(record_, bytes.data(), bytes.size(), 0, place_.pieces);
}

void PartFile::flush() {
  const std::lock_guard<std::mutex> guard(flush_);
  std::vector<int64_t> before(pieces_.size());
  for (int i = 0; i < pieces(); ++i) before[size_t(i)] = done(i);
  if (::fdatasync(data_) != 0) disk_error(place_.unfinished, "cannot be flushed");
  for (int i = 0; i < pieces(); ++i) {
    const int64_t at =
        int64_t(sizeof(RecordHead)) + i * int64_t(sizeof(PieceRecord)) + int64_t(offsetof(PieceRecord, durable));
    if (before[size_t(i)] > 0) write_all(record_, &before[size_t(i)], sizeof(int64_t), at, place_.pieces);
  }
}

void PartFile::finish(const fs::path& final_path) {
  if (::fsync(data_) != 0) disk_error(place_.unfinished, "cannot be flushed");
  make_folders(final_path.parent_path());
  if (::rename(place_.unfinished.c_str(), final_path.c_str()) != 0) disk_error(final_path, "cannot be given its name");
  sync_folder(final_path.parent_path());
  ::unlink(place_.pieces.c_str());
  drop_aside();
}

}  // namespace updraft::hub
