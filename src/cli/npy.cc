#include "cli/npy.h"

#include <fmt/format.h>

namespace updraft::cli {

void NpyWriter::begin(int64_t rows, int64_t columns) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  constexpr size_t kPrefix = 10;  // magic, version, header length
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  const unsigned char prefix[kPrefix] = {
      0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, uint8_t(header.size() & 0xff), uint8_t(header.size() >> 8)};
  file_.write(std::as_bytes(std::span(prefix)));
  file_.write(header);
}

}  // namespace updraft::cli
