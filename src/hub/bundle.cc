#include "hub/bundle.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "hub/digest.h"
#include "hub/names.h"
#include "hub/part_file.h"

namespace updraft::hub {
namespace {

constexpr int64_t kBlock = 512;
constexpr size_t kBuffer = 1 << 20;
constexpr const char* kManifest = "updraft-manifest.json";
constexpr int64_t kLargestManifest = 64 << 20;

int64_t padding(int64_t size) { return (kBlock - size % kBlock) % kBlock; }

void stop_if(const std::atomic<bool>* cancel) {
  if (cancel && cancel->load()) refuse(Refusal::kInterrupted, "interrupted");
}

// A file being written under a temporary name; removed unless it was finished.
class Output {
 public:
  explicit Output(const fs::path& path) : path_(path), temporary_(path.string() + ".updraft.tmp") {
    if (path.has_parent_path()) make_folders(path.parent_path());
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) refuse(Refusal::kDisk, "{}: cannot be written: {}", temporary_, std::strerror(errno));
  }
  ~Output() {
    if (descriptor_ >= 0) ::close(descriptor_), ::unlink(temporary_.c_str());
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t wrote = ::write(descriptor_, bytes.data(), bytes.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) refuse(Refusal::kDisk, "{}: cannot be written: {}", temporary_, std::strerror(errno));
      bytes = bytes.subspan(size_t(wrote));
      bytes_ += wrote;
    }
  }
  void write(const std::string& text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  void pad() { write(std::string(size_t(padding(bytes_)), '\0')); }
  int64_t bytes() const { return bytes_; }
  void finish() {
    if (::fsync(descriptor_) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0)
      refuse(Refusal::kDisk, "{}: cannot be finished: {}", path_.string(), std::strerror(errno));
    ::close(descriptor_);
    descriptor_ = -1;
    if (path_.has_parent_path()) sync_folder(path_.parent_path());
  }

 private:
  fs::path path_;
  std::string temporary_;
  int descriptor_ = -1;
  int64_t bytes_ = 0;
};

struct Collected {
  std::string repository;
  Listing listing;
  fs::path folder;
};

Collected collect(const BundleOptions& options) {
  Collected collected;
  if (is_there(options.model)) {
    collected.folder = options.model;
    collected.repository = options.name.empty()
                               ? "local/" + fs::absolute(collected.folder).lexically_normal().filename().string()
                               : options.name;
  } else {
    check_repository_id(options.model);
    const Cache cache(options.cache);
    const auto found = cache.find(options.model, options.revision);
    if (!found)
      refuse(Refusal::kOffline, "{}: not complete in the cache {}: pull it first", options.model,
             options.cache.string());
    collected.folder = *found;
    collected.repository = options.model;
    collected.listing.commit = found->filename();
  }
  check_repository_id(collected.repository);
  std::error_code error;
  for (fs::recursive_directory_iterator at(collected.folder, error), end; !error && at != end; at.increment(error)) {
    const std::string path = fs::relative(at->path().parent_path(), collected.folder, error).generic_string();
    const std::string name = (path == "." ? "" : path + "/") + at->path().filename().string();
    if (name.starts_with(".cache") || !at->is_regular_file(error)) continue;
    check_path(name, collected.folder.string());
    RemoteFile file;
    file.path = name;
    file.size = int64_t(at->file_size(error));
    collected.listing.files.push_back(std::move(file));
  }
  if (error || collected.listing.files.empty())
    refuse(Refusal::kNoFile, "{}: there are no files to bundle", collected.folder.string());
  std::sort(collected.listing.files.begin(), collected.listing.files.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  return collected;
}

// Both hashes of a file in one reading, so that the cache of the other machine names its blobs as the Hub does.
void hash_file(const fs::path& path, RemoteFile& file, Progress& progress, const BundleOptions& options) {
  const File source(path);
  Digest sha256(Digest::kSha256), git = Digest::git_blob(source.size());
  std::vector<std::byte> buffer(kBuffer);
  for (int64_t at = 0; at < source.size();) {
    stop_if(options.cancel);
    const auto part = std::span(buffer).first(size_t(std::min<int64_t>(kBuffer, source.size() - at)));
    source.read_at(at, part);
    sha256.update(part);
    git.update(part);
    at += int64_t(part.size());
    progress.done += int64_t(part.size());
    if (options.progress) options.progress(progress);
  }
  file.sha256 = sha256.hex();
  file.git_sha1 = git.hex();
}

// Reads members of a bundle one after the other.
class Reader {
 public:
  explicit Reader(const fs::path& path) : file_(path) {}
  // The next member's header with its pax records applied; throws HubError kBadListing.
  TarHeader next() {
    std::string path, size;
    for (;;) {
      const TarHeader header = header_at(at_);
      at_ += kBlock;
      if (header.type == 'x') {
        if (header.size > kLargestManifest) bad();
        const std::string records = text(header.size);
        path = pax_value(records, "path");
        size = pax_value(records, "size");
        at_ += header.size + padding(header.size);
        continue;
      }
      TarHeader full = header;
      if (!path.empty()) full.name = path;
      if (const auto large = parse_integer(size)) full.size = *large;
      if (full.size > file_.size() - at_) bad();
      return full;
    }
  }
  std::string text(int64_t size) const {
    if (size > file_.size() - at_ || size > kLargestManifest) bad();
    std::string out(size_t(size), '\0');
    file_.read_at(at_, std::as_writable_bytes(std::span(out.data(), out.size())));
    return out;
  }
  void skip(int64_t size) { at_ += size + padding(size); }
  int64_t position() const { return at_; }
  const File& file() const { return file_; }
  [[noreturn]] void bad() const {
    refuse(Refusal::kBadListing, "{}: this is no bundle of Updraft, or it is cut off (at byte {})", file_.where(), at_);
  }

 private:
  TarHeader header_at(int64_t at) const {
    if (at + kBlock > file_.size()) bad();
    std::string block(kBlock, '\0');
    file_.read_at(at, std::as_writable_bytes(std::span(block.data(), block.size())));
    const auto header = parse_tar_header(block);
    if (!header) bad();
    return *header;
  }
  File file_;
  int64_t at_ = 0;
};

// Copies one member into its part file, verifying; the hash decides whether it gets its name.
void install_file(const Reader& reader, const RemoteFile& file, const FilePlace& place, const PullOptions& options,
                  PullProgress& progress) {
  PartFile part(place, file.etag(), file.size, options.transfer.piece_bytes);
  part.reset();
  Digest digest = Digest::for_etag(file.etag(), file.size);
  std::vector<std::byte> buffer(kBuffer);
  for (int64_t at = 0; at < file.size;) {
    stop_if(options.transfer.http.cancel);
    const auto bytes = std::span(buffer).first(size_t(std::min<int64_t>(kBuffer, file.size - at)));
    reader.file().read_at(reader.position() + at, bytes);
    digest.update(bytes);
    part.write(at, bytes);
    at += int64_t(bytes.size());
    progress.done += int64_t(bytes.size());
    if (options.transfer.progress) options.transfer.progress(progress);
  }
  if (const std::string hash = digest.hex(); hash != file.etag())
    refuse(Refusal::kWrongHash, "{}: the hash of {} is {}, but its manifest says {}", reader.file().where(), file.path,
           hash, file.etag());
  part.finish(place.final_path);
}

}  // namespace

int64_t write_bundle(const BundleOptions& options) {
  Collected collected = collect(options);
  Progress progress{"hashing", 0, 0, "B"};
  for (const RemoteFile& file : collected.listing.files) progress.total += file.size;
  check_free_space(options.out.has_parent_path() ? options.out.parent_path() : fs::path("."), progress.total);
  for (RemoteFile& file : collected.listing.files) {
    hash_file(collected.folder / file.path, file, progress, options);
    // Small files go by git's hash on the Hub: the link's target tells which one names this blob.
    std::error_code error;
    const fs::path path = collected.folder / file.path;
    if (fs::is_symlink(path, error) && fs::read_symlink(path, error).filename() == file.git_sha1) file.sha256.clear();
  }
  if (collected.listing.commit.empty()) collected.listing.commit = pseudo_commit(collected.listing.files);
  progress = {"writing " + options.out.string(), 0, progress.total, "B"};
  Output out(options.out);
  const std::string manifest = write_manifest(collected.repository, collected.listing);
  out.write(make_tar_header({kManifest, int64_t(manifest.size()), '0'}));
  out.write(manifest);
  out.pad();
  std::vector<std::byte> buffer(kBuffer);
  for (const RemoteFile& file : collected.listing.files) {
    const File source(collected.folder / file.path);
    if (source.size() != file.size)
      refuse(Refusal::kWrongSize, "{} changed while it was being bundled", source.where());
    out.write(make_tar_header({file.path, file.size, '0'}));
    for (int64_t at = 0; at < file.size;) {
      stop_if(options.cancel);
      const auto part = std::span(buffer).first(size_t(std::min<int64_t>(kBuffer, file.size - at)));
      source.read_at(at, part);
      out.write(part);
      at += int64_t(part.size());
      progress.done += int64_t(part.size());
      if (options.progress) options.progress(progress);
    }
    out.pad();
  }
  out.write(std::string(2 * kBlock, '\0'));
  out.finish();
  return out.bytes();
}

PullResult install_bundle(const fs::path& bundle, const PullOptions& options) {
  Reader reader(bundle);
  const TarHeader first = reader.next();
  if (first.name != kManifest) reader.bad();
  const std::string text = reader.text(first.size);
  reader.skip(first.size);
  const Listing listing = parse_manifest(text, bundle.string());
  const std::string id = manifest_repository(text);
  check_repository_id(id);
  const Cache cache(options.cache);
  PullResult result;
  PullProgress progress;
  progress.files = int(listing.files.size());
  for (const RemoteFile& file : listing.files) progress.total += file.size;
  check_free_space(options.local_folder.value_or(options.cache), progress.total);
  if (options.local_folder)
    prepare_local(*options.local_folder);
  else
    cache.prepare(id);
  const Cache record = options.local_folder ? local_record(*options.local_folder) : cache;
  record.write_trees(id, listing.commit, listing.files);
  for (const RemoteFile& file : listing.files) {
    const TarHeader member = reader.next();
    if (member.name != file.path || member.size != file.size) reader.bad();
    const FilePlace place = options.local_folder ? local_place(*options.local_folder, file.path, file.etag())
                                                 : cache.place(id, listing.commit, file.path, file.etag());
    const FileLock lock(place.lock, options.transfer.http.cancel, [] {});
    std::error_code error;
    const bool there = options.local_folder ? local_etag(place) == file.etag()
                                            : fs::file_size(place.final_path, error) == uintmax_t(file.size);
    if (!there) install_file(reader, file, place, options, progress);
    if (options.local_folder)
      write_metadata(place, listing.commit, file.etag());
    else
      link_pointer(place, options.transfer.no_links);
    reader.skip(file.size);
    result.bytes += file.size;
    ++result.files;
  }
  record.write_ref(id, "main", listing.commit);
  result.folder = options.local_folder.value_or(cache.snapshot(id, listing.commit));
  result.commit = listing.commit;
  result.from = {bundle.string()};
  return result;
}

}  // namespace updraft::hub
