// HttpClient: one connection holder over libcurl, used by one thread. It never follows a redirect by itself, never
// sends a token except where the caller put it, and tells a stall, a cut and a bad certificate apart.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hub/hub_error.h"

namespace updraft::hub {

struct HttpSettings {
  double connect_s = 10;  // HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT
  double stall_s = 20;    // no more than `stall_bytes_per_s` for so long is a stall
  int64_t stall_bytes_per_s = 1024;
  std::string certificates;  // a PEM file besides the system's, or ""
  std::string user_agent = "updraft";
  const std::atomic<bool>* cancel = nullptr;
};

struct HttpHead {
  long status = 0;
  std::vector<std::pair<std::string, std::string>> headers;          // names in lower case
  const std::string& get(const std::string& lower_case_name) const;  // the last one, or ""
};

// A failure of the connection, not an answer. kNetwork or kCertificate or kInterrupted.
struct HttpFailure {
  Refusal refusal;
  std::string what;  // "connection cut", "stalled: less than 1 KB/s for 20 s", ...
};

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  bool head = false;
  std::function<bool(const HttpHead&)> on_head;             // false: stop here, no error
  std::function<bool(std::span<const std::byte>)> on_data;  // false: stop here, no error
};

class HttpClient {
 public:
  explicit HttpClient(const HttpSettings&);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // One hop. Returns the failure of the connection, if there was one; exceptions of the callbacks pass through.
  std::pair<HttpHead, std::unique_ptr<HttpFailure>> perform(const HttpRequest&);

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
  HttpSettings settings_;
};

std::string origin_of(const std::string& url);  // "https://host:port", lower case
std::string host_of(const std::string& url);    // "host" or "host:port", for messages
std::string resolve_location(const std::string& base, const std::string& target);  // "" when it is no http(s) URL
bool is_loopback(const std::string& url);

// The answer to a small request, redirects followed by our rules: `token` only goes to the origin it was given for.
struct HttpReply {
  HttpHead head;
  std::string body;
  std::string url;  // the last one
};
struct SmallRequest {
  std::string url;
  std::string token;  // "" : none
  bool head = false;
  size_t limit_bytes = 64 << 20;
};
// Throws HubError: kNetwork, kCertificate, kRedirects, kInterrupted. Any status is a reply.
HttpReply fetch_small(HttpClient&, const SmallRequest&);

inline constexpr int kMaxRedirects = 10;
// The next hop, or throws HubError kRedirects. `seen` are the URLs so far.
std::string next_hop(const std::vector<std::string>& seen, const HttpHead&);

}  // namespace updraft::hub
