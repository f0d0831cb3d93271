#include "checkpoint/zip_directory.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace updraft::checkpoint {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr int64_t kLocalHeaderBytes = 30, kCentralHeaderBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                  kLocatorBytes = 20;
constexpr int64_t kLongestComment = 65535;
constexpr int64_t kLargestDirectory = 256 << 20;
constexpr uint32_t kIn64 = 0xffffffff;  // "look in the ZIP64 field"

// Little-endian numbers out of a buffer; reading past its end is the archive's fault.
class Bytes {
 public:
  Bytes(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  uint64_t number(size_t offset, size_t width) const {
    if (offset > bytes_.size() || bytes_.size() - offset < width) fail("{}: its zip directory is damaged.", where_);
    uint64_t value = 0;
    for (size_t i = width; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes_[offset + i]);
    return value;
  }
  uint16_t u16(size_t offset) const { return uint16_t(number(offset, 2)); }
  uint32_t u32(size_t offset) const { return uint32_t(number(offset, 4)); }
  uint64_t u64(size_t offset) const { return number(offset, 8); }
  std::string_view slice(size_t offset, size_t bytes) const {
    if (offset > bytes_.size() || bytes_.size() - offset < bytes) fail("{}: its zip directory is damaged.", where_);
    return bytes_.substr(offset, bytes);
  }
  size_t size() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  const std::string& where_;
};

std::string read_string(const RandomAccess& file, int64_t offset, int64_t bytes) {
  std::string text(size_t(bytes), '\0');
  file.read_at(offset, text.data(), bytes);
  return text;
}

struct Directory {
  uint64_t entries = 0, bytes = 0, begin = 0;
};

// The end record is the last thing in the file, but for a comment; ZIP64 puts a second one with wider fields before it.
Directory find_directory(const RandomAccess& file) {
  const std::string where = file.where();
  const int64_t tail_bytes = std::min(file.size(), kEndBytes + kLongestComment + kLocatorBytes);
  const std::string tail = read_string(file, file.size() - tail_bytes, tail_bytes);
  const size_t end = tail.rfind("PK\5\6");  // the end record's signature
  if (end == std::string::npos || tail.size() - end < size_t(kEndBytes))
    fail("{}: is cut off: the zip archive has no directory at its end; fetch it again.", where);
  const Bytes record(tail, where);
  Directory directory{record.u16(end + 10), record.u32(end + 12), record.u32(end + 16)};
  const size_t locator = end - std::min(end, size_t(kLocatorBytes));
  if (end - locator == size_t(kLocatorBytes) && record.u32(locator) == kEnd64Locator) {
    const uint64_t at = record.u64(locator + 8);
    if (file.size() < kEnd64Bytes || at > uint64_t(file.size() - kEnd64Bytes))
      fail("{}: its zip directory is damaged.", where);
    const std::string text = read_string(file, int64_t(at), kEnd64Bytes);
    const Bytes wide(text, where);
    if (wide.u32(0) != kEnd64) fail("{}: its zip directory is damaged.", where);
    directory = {wide.u64(32), wide.u64(40), wide.u64(48)};
  }
  const uint64_t size = uint64_t(file.size());
  if (directory.begin > size || directory.bytes > size - directory.begin)
    fail("{}: is cut off: its zip directory lies outside the file; fetch it again.", where);
  if (directory.bytes > uint64_t(kLargestDirectory)) fail("{}: its zip directory is too large.", where);
  return directory;
}

// One central header: name, sizes and where the local header is.
struct Central {
  std::string name;
  uint64_t bytes = 0, stored_bytes = 0, local_header = 0;
  size_t length = 0;  // of the central header itself
};

// Fields that did not fit 32 bits are in the extra field 1, in this order, only those.
void read_zip64(const Bytes& extra, Central& entry) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const uint16_t id = extra.u16(at), length = extra.u16(at + 2);
    if (id == 1) {
      size_t field = at + 4;
      for (uint64_t* value : {&entry.bytes, &entry.stored_bytes, &entry.local_header}) {
        if (*value != kIn64) continue;
        *value = extra.u64(field);
        field += 8;
      }
      return;
    }
    at += 4 + size_t(length);
  }
}

Central read_central(const Bytes& directory, size_t at, const std::string& where) {
  if (directory.u32(at) != kCentralHeader) fail("{}: its zip directory is damaged.", where);
  Central entry;
  const size_t name_length = directory.u16(at + 28), extra_length = directory.u16(at + 30);
  entry.length = size_t(kCentralHeaderBytes) + name_length + extra_length + directory.u16(at + 32);
  entry.name = directory.slice(at + size_t(kCentralHeaderBytes), name_length);
  const uint16_t flags = directory.u16(at + 8), method = directory.u16(at + 10);
  if ((flags & 1) != 0) fail("{}: its entry {} is encrypted, which is not supported.", where, entry.name);
  if (method != 0)
    fail("{}: its entry {} is compressed, which PyTorch never does; save the model again as safetensors.", where,
         entry.name);
  entry.stored_bytes = directory.u32(at + 20);
  entry.bytes = directory.u32(at + 24);
  entry.local_header = directory.u32(at + 42);
  read_zip64(Bytes(directory.slice(at + size_t(kCentralHeaderBytes) + name_length, extra_length), where), entry);
  if (entry.bytes != entry.stored_bytes) fail("{}: its entry {} has two sizes: it is damaged.", where, entry.name);
  return entry;
}

// The data follows the local header, whose extra field (PyTorch aligns with it) differs from the central one's.
ZipEntry locate(const RandomAccess& file, const Central& entry) {
  const uint64_t size = uint64_t(file.size());
  if (size < uint64_t(kLocalHeaderBytes) || entry.local_header > size - uint64_t(kLocalHeaderBytes))
    fail("{}: is damaged: its entry {} lies outside the file.", file.where(), entry.name);
  const std::string text = read_string(file, int64_t(entry.local_header), kLocalHeaderBytes);
  const std::string where = file.where();
  const Bytes local(text, where);
  if (local.u32(0) != kLocalHeader) fail("{}: is damaged: its entry {} has no local header.", where, entry.name);
  const uint64_t begin = entry.local_header + uint64_t(kLocalHeaderBytes) + local.u16(26) + local.u16(28);
  if (begin > size || entry.bytes > size - begin)
    fail("{}: is damaged: its entry {} needs {} bytes, more than the file has.", where, entry.name, entry.bytes);
  return {int64_t(begin), int64_t(entry.bytes)};
}

}  // namespace

std::map<std::string, ZipEntry> read_zip_directory(const RandomAccess& file) {
  const std::string where = file.where();
  const Directory place = find_directory(file);
  const std::string text = read_string(file, int64_t(place.begin), int64_t(place.bytes));
  const Bytes directory(text, where);
  std::map<std::string, ZipEntry> entries;
  size_t at = 0;
  for (uint64_t i = 0; i < place.entries; ++i) {
    const Central entry = read_central(directory, at, where);
    at += entry.length;
    if (!entries.emplace(entry.name, locate(file, entry)).second)
      fail("{}: its entry {} is there twice.", where, entry.name);
  }
  return entries;
}

}  // namespace updraft::checkpoint
