#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <exception>
#include <mutex>

#include "base/check.h"

namespace updraft::hub {
namespace {

constexpr long kReceiveBuffer = 512 << 10;  // libcurl's largest; fewer, larger writes
constexpr size_t kMaxHeaderBytes = 256 << 10;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, end - begin + 1));
}

// What one transfer's callbacks share.
struct Exchange {
  const HttpRequest* request = nullptr;
  const HttpSettings* settings = nullptr;
  HttpHead head;
  size_t header_bytes = 0;
  bool head_done = false, stopped = false;
  std::exception_ptr thrown;

  bool cancelled() const { return settings->cancel && settings->cancel->load(); }
  bool finish_head() {
    if (head_done) return !stopped;
    head_done = true;
    try {
      if (request->on_head && !request->on_head(head)) stopped = true;
    } catch (...) {
      thrown = std::current_exception();
      stopped = true;
    }
    return !stopped;
  }
};

size_t on_header(char* data, size_t, size_t bytes, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(data, bytes);
  if ((exchange.header_bytes += bytes) > kMaxHeaderBytes) return 0;
  if (line.starts_with("HTTP/")) {  // a new head: 100 Continue came before
    exchange.head = {};
    const size_t space = line.find(' ');
    if (space != std::string_view::npos)
      exchange.head.status = std::atol(std::string(line.substr(space + 1, 3)).c_str());
    return bytes;
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos)
    exchange.head.headers.emplace_back(lower(trimmed(line.substr(0, colon))), trimmed(line.substr(colon + 1)));
  else if (trimmed(line).empty() && exchange.head.status >= 200 && !exchange.finish_head())
    return 0;
  return bytes;
}

size_t on_body(char* data, size_t, size_t bytes, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  if (exchange.cancelled() || !exchange.finish_head()) return 0;
  try {
    if (!exchange.request->on_data || exchange.request->on_data(std::as_bytes(std::span(data, bytes)))) return bytes;
  } catch (...) {
    exchange.thrown = std::current_exception();
  }
  exchange.stopped = true;
  return 0;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Exchange*>(user)->cancelled() ? 1 : 0;
}

template <class T>
void set(CURL* curl, CURLoption option, T value) {
  const CURLcode code = curl_easy_setopt(curl, option, value);
  if (code != CURLE_OK) fail("libcurl refuses option {}: {}", int(option), curl_easy_strerror(code));
}

bool connected(CURL* curl) {
  double seconds = 0;
  return curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME, &seconds) == CURLE_OK && seconds > 0;
}

std::string url_part(const std::string& url, CURLUPart part) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  char* text = nullptr;
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK ||
      curl_url_get(parsed.get(), part, &text, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) != CURLUE_OK)
    return "";
  std::string out = text;
  curl_free(text);
  return lower(out);
}

}  // namespace

struct HttpClient::Handle {
  CURL* curl = curl_easy_init();
  ~Handle() { curl_easy_cleanup(curl); }
};

const std::string& HttpHead::get(const std::string& name) const {
  static const std::string none;
  for (auto at = headers.rbegin(); at != headers.rend(); ++at)
    if (at->first == name) return at->second;
  return none;
}

HttpClient::HttpClient(const HttpSettings& settings) : settings_(settings) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  handle_ = std::make_unique<Handle>();
  if (!handle_->curl) fail("libcurl could not start");
}
HttpClient::~HttpClient() = default;

std::pair<HttpHead, std::unique_ptr<HttpFailure>> HttpClient::perform(const HttpRequest& request) {
  CURL* curl = handle_->curl;
  curl_easy_reset(curl);  // keeps connections and DNS
  Exchange exchange;
  exchange.request = &request;
  exchange.settings = &settings_;
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  list = curl_slist_append(list, "Accept-Encoding: identity");
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list, curl_slist_free_all);
  set(curl, CURLOPT_URL, request.url.c_str());
  set(curl, CURLOPT_HTTPHEADER, headers.get());
  set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  set(curl, CURLOPT_FOLLOWLOCATION, 0L);
  set(curl, CURLOPT_HTTP_VERSION, long(CURL_HTTP_VERSION_1_1));  // parallel ranges want connections of their own
  set(curl, CURLOPT_NOSIGNAL, 1L);
  set(curl, CURLOPT_NOPROGRESS, 0L);
  // Only a wish: libcurl 7.88 refuses it while the buffer of an attempt that failed is still allocated.
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  set(curl, CURLOPT_USERAGENT, settings_.user_agent.c_str());
  set(curl, CURLOPT_CONNECTTIMEOUT_MS, long(settings_.connect_s * 1000));
  set(curl, CURLOPT_LOW_SPEED_LIMIT, long(settings_.stall_bytes_per_s));
  set(curl, CURLOPT_LOW_SPEED_TIME, std::max(1L, long(settings_.stall_s)));
  if (!settings_.certificates.empty()) set(curl, CURLOPT_CAINFO, settings_.certificates.c_str());
  if (request.head) set(curl, CURLOPT_NOBODY, 1L);
  if (is_loopback(request.url)) set(curl, CURLOPT_NOPROXY, "*");
  set(curl, CURLOPT_HEADERFUNCTION, on_header);
  set(curl, CURLOPT_HEADERDATA, &exchange);
  set(curl, CURLOPT_WRITEFUNCTION, on_body);
  set(curl, CURLOPT_WRITEDATA, &exchange);
  set(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  set(curl, CURLOPT_XFERINFODATA, &exchange);
  char detail[CURL_ERROR_SIZE] = "";
  set(curl, CURLOPT_ERRORBUFFER, detail);
  const CURLcode code = curl_easy_perform(curl);
  set(curl, CURLOPT_ERRORBUFFER, static_cast<char*>(nullptr));
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  if (exchange.cancelled())
    return {std::move(exchange.head), std::make_unique<HttpFailure>(HttpFailure{Refusal::kInterrupted, "interrupted"})};
  if (code == CURLE_OK || exchange.stopped) return {std::move(exchange.head), nullptr};
  HttpFailure failure{Refusal::kNetwork, detail[0] ? detail : curl_easy_strerror(code)};
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM ||
      code == CURLE_SSL_ISSUER_ERROR)
    failure.refusal = Refusal::kCertificate;
  else if (code == CURLE_OPERATION_TIMEDOUT && connected(curl))
    failure.what =
        fmt::format("stalled: less than {} bytes/s for {:.0f} s", settings_.stall_bytes_per_s, settings_.stall_s);
  else if (code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING)
    failure.what = "connection cut";
  return {std::move(exchange.head), std::make_unique<HttpFailure>(std::move(failure))};
}

std::string origin_of(const std::string& url) {
  return fmt::format("{}://{}:{}", url_part(url, CURLUPART_SCHEME), url_part(url, CURLUPART_HOST),
                     url_part(url, CURLUPART_PORT));
}

std::string host_of(const std::string& url) {
  const std::string scheme = url_part(url, CURLUPART_SCHEME), port = url_part(url, CURLUPART_PORT);
  const std::string host = url_part(url, CURLUPART_HOST);
  if (host.empty()) return url;
  return port == (scheme == "https" ? "443" : "80") ? host : host + ":" + port;
}

std::string resolve_location(const std::string& base, const std::string& target) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  char* text = nullptr;
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK ||
      curl_url_set(parsed.get(), CURLUPART_URL, target.c_str(), CURLU_URLENCODE) != CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_URL, &text, 0) != CURLUE_OK)
    return "";
  std::string url = text;
  curl_free(text);
  return url.starts_with("http://") || url.starts_with("https://") ? url : "";
}

bool is_loopback(const std::string& url) {
  const std::string host = url_part(url, CURLUPART_HOST);
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

std::string next_hop(const std::vector<std::string>& seen, const HttpHead& head) {
  const std::string& from = seen.back();
  std::string to = resolve_location(from, head.get("location"));
  if (to.empty())
    refuse(Refusal::kRedirects, "{} redirects (status {}) to no http address: \"{}\"", host_of(from), head.status,
           head.get("location").substr(0, 200));
  if (from.starts_with("https://") && to.starts_with("http://"))
    refuse(Refusal::kRedirects, "{} redirects from https to plain http at {}: not followed", host_of(from),
           host_of(to));
  if (std::find(seen.begin(), seen.end(), to) != seen.end() || int(seen.size()) > kMaxRedirects)
    refuse(Refusal::kRedirects, "{} redirects in a loop ({} hops, last to {})", host_of(seen.front()), seen.size(),
           host_of(to));
  return to;
}

HttpReply fetch_small(HttpClient& client, const SmallRequest& request) {
  std::vector<std::string> seen{request.url};
  for (;;) {
    HttpReply reply;
    reply.url = seen.back();
    HttpRequest hop;
    hop.url = seen.back();
    hop.head = request.head;
    if (!request.token.empty() && origin_of(hop.url) == origin_of(request.url))
      hop.headers.push_back("Authorization: Bearer " + request.token);
    bool too_large = false;
    hop.on_data = [&](std::span<const std::byte> bytes) {
      too_large = reply.body.size() + bytes.size() > request.limit_bytes;
      if (!too_large) reply.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return !too_large;
    };
    auto [head, failure] = client.perform(hop);
    if (failure)
      refuse(failure->refusal, "{}: {}{}", host_of(hop.url),
             failure->refusal == Refusal::kCertificate
                 ? "its certificate is not trusted, so nothing was sent or taken: "
                 : "",
             failure->what);
    if (too_large)
      refuse(Refusal::kBadListing, "{} answers with more than {} bytes to {}", host_of(hop.url), request.limit_bytes,
             hop.url);
    reply.head = std::move(head);
    if (reply.head.status < 300 || reply.head.status >= 400 || reply.head.get("location").empty()) return reply;
    seen.push_back(next_hop(seen, reply.head));
  }
}

}  // namespace updraft::hub
