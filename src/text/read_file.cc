#include "text/read_file.h"

#include <fstream>

#include "base/error.h"

namespace updraft::text {

std::string read_file(const std::filesystem::path& path) {
  constexpr std::uintmax_t kLargest = std::uintmax_t(1) << 30;
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail("{}: cannot be read ({}).", path.string(), error.message());
  if (size > kLargest)
    fail("{}: {} bytes are more than a tokenizer file can have ({}).", path.string(), size, kLargest);
  std::string content(size_t(size), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(content.data(), std::streamsize(size))) fail("{}: cannot be read to its end.", path.string());
  return content;
}

}  // namespace updraft::text
