// Environment: the one place where Updraft reads environment variables. Everything below gets plain values.
#pragma once

#include <string>

namespace updraft::cli {

// The variables of huggingface_hub, with its meanings and defaults.
struct HubEnvironment {
  std::string endpoint;  // HF_ENDPOINT
  std::string
      cache;  // HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/...
  std::string token;         // HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH or $HF_HOME/token
  bool offline = false;      // HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE
  bool no_links = false;     // HF_HUB_DISABLE_SYMLINKS
  double connect_s = 10;     // HF_HUB_ETAG_TIMEOUT
  double stall_s = 20;       // HF_HUB_DOWNLOAD_TIMEOUT, when it is larger
  std::string certificates;  // SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE
};

struct Environment {
  bool no_color = false;       // NO_COLOR (no-color.org), or TERM=dumb
  bool dumb_terminal = false;  // TERM=dumb: it knows no control sequence, so no line is drawn over
  bool chinese = false;        // the message language: UPDRAFT_LANG, else LC_ALL, LC_MESSAGES, LANG begins with zh
  std::string cache_folder;    // UPDRAFT_CACHE, else $XDG_CACHE_HOME/updraft, else ~/.cache/updraft
  std::string home;            // HOME, else what the system knows of the user
  std::string openai_api_key;  // OPENAI_API_KEY: bench --against
  HubEnvironment hub;
};
const Environment& environment();  // read once, at the first call

}  // namespace updraft::cli
