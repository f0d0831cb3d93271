// Environment: the one place where Updraft reads environment variables. Everything below gets plain values.
#pragma once

#include <string>

namespace updraft::cli {

struct Environment {
  bool no_color = false;     // NO_COLOR (no-color.org), or TERM=dumb
  bool chinese = false;      // the message language: UPDRAFT_LANG, else LC_ALL, LC_MESSAGES, LANG begins with zh
  std::string cache_folder;  // UPDRAFT_CACHE, else $XDG_CACHE_HOME/updraft, else ~/.cache/updraft
  std::string home;
  std::string openai_api_key;  // OPENAI_API_KEY: bench --against
};
const Environment& environment();  // read once, at the first call

}  // namespace updraft::cli
