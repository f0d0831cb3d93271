// The directory of a zip archive whose entries are stored, not compressed, as PyTorch writes them; ZIP64 included.
// Source: PKWARE APPNOTE.TXT 6.3, sections 4.3 and 4.5.3.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/random_access.h"

namespace updraft::checkpoint {

struct ZipEntry {
  int64_t begin = 0;  // of the data, in bytes from the start of the file
  int64_t bytes = 0;
};

// By name. Every entry lies inside the file. Throws Error for a damaged or cut archive, a compressed or encrypted
// entry, and a name that is there twice.
std::map<std::string, ZipEntry> read_zip_directory(const RandomAccess& file);

}  // namespace updraft::checkpoint
