#include "cli/environment.h"

#include <cstdlib>

namespace updraft::cli {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Environment read_environment() {
  Environment e;
  e.no_color = !variable("NO_COLOR").empty() || variable("TERM") == "dumb";
  e.home = variable("HOME");
  e.openai_api_key = variable("OPENAI_API_KEY");
  for (const char* name : {"UPDRAFT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"}) {
    const std::string value = variable(name);
    if (value.empty()) continue;
    e.chinese = value.starts_with("zh");
    break;
  }
  e.cache_folder = variable("UPDRAFT_CACHE");
  if (e.cache_folder.empty()) {
    const std::string xdg = variable("XDG_CACHE_HOME");
    e.cache_folder = (xdg.empty() ? e.home + "/.cache" : xdg) + "/updraft";
  }
  return e;
}

}  // namespace

const Environment& environment() {
  static const Environment read = read_environment();
  return read;
}

}  // namespace updraft::cli
