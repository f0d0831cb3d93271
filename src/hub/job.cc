#include "hub/job.h"

#include <algorithm>

#include "hub/digest.h"

namespace updraft::hub {
namespace {

constexpr size_t kBufferBytes = 256 << 10;

}  // namespace

std::string segment_digest(const PartFile& part, const Segment& segment) {
  Digest digest(Digest::kSha256);
  std::vector<std::byte> buffer(kBufferBytes);
  for (int64_t at = segment.begin; at < segment.end;) {
    const auto bytes = std::span(buffer).first(size_t(std::min<int64_t>(int64_t(buffer.size()), segment.end - at)));
    if (!part.read(at, bytes)) return "";
    digest.update(bytes);
    at += int64_t(bytes.size());
  }
  return digest.hex();
}

Job::Job(const FileTask& file, int64_t piece_bytes) : task(&file) {
  part = std::make_unique<PartFile>(file.place, etag().empty() ? "unknown" : etag(), file.file.size, piece_bytes);
  taken.assign(size_t(part->pieces()), false);
  for (int i = 0; i < part->pieces(); ++i)
    if (part->done(i) > 0) segments.push_back({part->begin(i), part->begin(i) + part->done(i), kKept, ""});
}

int Job::free_piece() const {
  for (int piece = 0; piece < part->pieces(); ++piece)
    if (!taken[size_t(piece)] && part->done(piece) < part->length(piece)) return piece;
  return -1;
}

std::set<int> Job::givers() const {
  std::set<int> sources;
  for (const Segment& segment : segments) sources.insert(segment.source);
  return sources;
}

int64_t Job::bytes_from(int source) const {
  int64_t bytes = 0;
  for (const Segment& segment : segments)
    if (segment.source == source) bytes += segment.end - segment.begin;
  return bytes;
}

void Job::restart() {
  ++generation;  // before the bytes go, so that the hasher knows why
  part->reset();
  ++generation;  // and after, for bytes read in between
  start_over = false;
  segments.clear();
  taken.assign(taken.size(), false);
  etags.clear();
}

void Job::begin_again_with(const std::function<bool(int)>& trusted) {
  if (part->set_aside()) {
    aside = segments;
    copy_from_aside(trusted);
  } else {
    aside.clear();
    restart();
  }
}

void Job::rebuild_with(const std::function<bool(int)>& trusted) {
  part->reset();
  copy_from_aside(trusted);
}

// Pieces are filled from their beginnings, so of each piece what comes before the first distrusted byte.
void Job::copy_from_aside(const std::function<bool(int)>& trusted) {
  segments.clear();
  etags.clear();
  std::sort(aside.begin(), aside.end(), [](const Segment& a, const Segment& b) { return a.begin < b.begin; });
  std::vector<std::byte> buffer(kBufferBytes);
  for (int piece = 0; piece < part->pieces(); ++piece) {
    int64_t at = part->begin(piece);
    const int64_t piece_end = at + part->length(piece);
    for (const Segment& segment : aside) {
      if (segment.end <= at) continue;
      if (segment.begin > at || !trusted(segment.source)) break;
      const int64_t begin = at, end = std::min(segment.end, piece_end);
      while (at < end) {
        const auto bytes = std::span(buffer).first(size_t(std::min<int64_t>(int64_t(buffer.size()), end - at)));
        if (!part->read_aside(at, bytes)) return;
        part->write(at, bytes);
        at += int64_t(bytes.size());
      }
      segments.push_back({begin, end, segment.source, ""});
      if (at == piece_end) break;
    }
  }
}

}  // namespace updraft::hub
