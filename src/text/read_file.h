// A whole small file as a string.
#pragma once

#include <filesystem>
#include <string>

namespace updraft::text {

// Throws Error that names the file; also for one larger than 1 GiB, which no vocabulary is.
std::string read_file(const std::filesystem::path&);

}  // namespace updraft::text
