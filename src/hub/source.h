// Source: one place a repository can come from (a Hugging Face endpoint, ModelScope, Modelers or GitCode, a plain HTTP
// directory, a local folder): how it lists files and where a file's bytes are. A token belongs to one source and goes
// to no other host. Protocols: huggingface_hub (PyPI); ModelScope's API /api/v1/models; Modelers and GitCode as their
// client openmind_hub 1.3.0 (PyPI) speaks it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hub/http.h"
#include "hub/listing.h"

namespace updraft::hub {

enum class SourceKind { kHuggingFace, kModelScope, kModelers, kDirectory, kFolder };

struct Source {
  SourceKind kind = SourceKind::kHuggingFace;
  std::string base;             // without a trailing '/'; a folder's path for kFolder
  std::string token;            // only ever sent to base's origin
  bool token_withheld = false;  // there is a token, but it belongs to another host
  std::string name() const;     // for messages: the host, or the folder
};

// What the user configured: endpoints in order and who the token is for.
struct SourceSettings {
  std::vector<std::string> endpoints;  // --endpoint; empty: the default pool
  std::string default_endpoint;        // HF_ENDPOINT, or https://huggingface.co
  std::string token;                   // HF_TOKEN, or the token file
  std::string explicit_token;          // --token: for the first endpoint
};
// Throws HubError kTokenElsewhere when --token would go over plain http to another machine, Error for a bad endpoint.
std::vector<Source> make_sources(const SourceSettings&);

// Lists the repository. May change `source.kind` from kHuggingFace to kDirectory when the server is one.
// Throws HubError that names the source.
Listing list_repository(HttpClient&, Source& source, const std::string& repository, const std::string& revision);

std::string file_url(const Source&, const std::string& repository, const std::string& commit,
                     const std::string& revision, const std::string& path);

// The error a status means, in the words of its X-Error-Code; for 2xx and 3xx must not be called.
HubError status_error(const Source&, const std::string& url, const HttpHead&, const std::string& repository,
                      const std::string& what);

}  // namespace updraft::hub
