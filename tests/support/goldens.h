// Where the goldens of ../shared/models are: the folder named by UPDRAFT_GOLDENS when it is set, else ../shared/models
// beside the checkout, else the small copies in tests/golden (same layout, fewer files). For tests only.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace updraft::test {

inline const std::filesystem::path& goldens_folder() {
  static const std::filesystem::path folder = [] {
    if (const char* named = std::getenv("UPDRAFT_GOLDENS"); named != nullptr && *named != '\0')
      return std::filesystem::path(named);
    const std::filesystem::path source = UPDRAFT_SOURCE_DIR;
    if (const auto shared = source / "../shared/models"; std::filesystem::exists(shared)) return shared;
    return source / "tests/golden";
  }();
  return folder;
}

// The path of a golden, looked for in tests/golden too; empty where there is none: then GTEST_SKIP() naming it.
inline std::filesystem::path find_golden(const std::string& name) {
  for (const auto& path : {goldens_folder() / name, std::filesystem::path(UPDRAFT_SOURCE_DIR) / "tests/golden" / name})
    if (std::filesystem::exists(path)) return path;
  return {};
}

}  // namespace updraft::test
