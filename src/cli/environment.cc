#include "cli/environment.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace updraft::cli {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool truthy(const char* name) {
  std::string value = variable(name);
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

// "~/x" and "$NAME/x", as huggingface_hub expands them.
std::string expand(std::string path, const std::string& home) {
  if (path == "~" || path.starts_with("~/")) path = home + path.substr(1);
  for (size_t at = 0; (at = path.find('$', at)) != std::string::npos;) {
    const bool braces = path.compare(at + 1, 1, "{") == 0;
    size_t end = at + (braces ? 2 : 1);
    const size_t begin = end;
    while (end < path.size() && (std::isalnum(static_cast<unsigned char>(path[end])) || path[end] == '_')) ++end;
    const std::string value = variable(path.substr(begin, end - begin).c_str());
    if (end == begin || value.empty() || (braces && path.compare(end, 1, "}") != 0)) {
      ++at;
      continue;
    }
    path.replace(at, end + (braces ? 1 : 0) - at, value);
    at += value.size();
  }
  return path;
}

std::string first_of(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (std::string value = variable(name); !value.empty()) return value;
  return "";
}

std::string stripped(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

double seconds(const char* name, double otherwise) {
  const double value = std::atof(variable(name).c_str());
  return value > 0 && value < 86400 ? value : otherwise;
}

// As Python's expanduser, and so huggingface_hub: a service or a container may be started without HOME.
std::string home_folder() {
  std::string home = variable("HOME");
  if (!home.empty()) return home;
  const passwd* user = ::getpwuid(::getuid());
  return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
}

HubEnvironment read_hub(const std::string& home) {
  HubEnvironment hub;
  hub.endpoint = variable("HF_ENDPOINT");
  while (hub.endpoint.ends_with('/')) hub.endpoint.pop_back();
  const std::string xdg = variable("XDG_CACHE_HOME"), own = variable("HF_HOME");
  const std::string hf_home = expand(own.empty() ? (xdg.empty() ? home + "/.cache" : xdg) + "/huggingface" : own, home);
  const std::string cache = first_of({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  hub.cache = expand(cache.empty() ? hf_home + "/hub" : cache, home);
  if (!truthy("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
    hub.token = stripped(first_of({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
    const std::string path = variable("HF_TOKEN_PATH");
    std::ifstream file(expand(path.empty() ? hf_home + "/token" : path, home));
    if (hub.token.empty() && file) std::getline(file, hub.token);
    hub.token = stripped(hub.token);
  }
  hub.offline = truthy("HF_HUB_OFFLINE") || truthy("TRANSFORMERS_OFFLINE");
  hub.no_links = truthy("HF_HUB_DISABLE_SYMLINKS");
  hub.connect_s = seconds("HF_HUB_ETAG_TIMEOUT", hub.connect_s);
  hub.stall_s = std::max(hub.stall_s, seconds("HF_HUB_DOWNLOAD_TIMEOUT", hub.stall_s));
  hub.certificates = first_of({"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"});
  return hub;
}

Environment read_environment() {
  Environment e;
  e.dumb_terminal = variable("TERM") == "dumb";
  e.no_color = !variable("NO_COLOR").empty() || e.dumb_terminal;
  e.home = home_folder();
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
  e.hub = read_hub(e.home);
  return e;
}

}  // namespace

const Environment& environment() {
  static const Environment read = read_environment();
  return read;
}

}  // namespace updraft::cli
