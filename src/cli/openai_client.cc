#include "cli/openai_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/strict_json.h"
#include "cli/event_stream.h"
#include "cli/streamed_answer.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr long kConnectTimeout_s = 10;
constexpr long kSilence_s = 600;                      // a server that says nothing for so long is gone
constexpr size_t kMaxErrorBytes = 64 << 10;           // of a refusal: more is not read
constexpr size_t kMaxAnswerBytes = size_t(64) << 20;  // of one whole answer

std::string base_of(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    fail("--against {}: an http:// or https:// address is expected, like http://localhost:8000/v1", url);
  constexpr std::string_view kPath = "/chat/completions";
  if (url.ends_with(kPath)) url.resize(url.size() - kPath.size());
  return url.ends_with("/v1") ? url : url + "/v1";
}

bool is_local(const std::string& url) {
  const std::string host = url.substr(url.find("://") + 3);
  for (const char* local : {"localhost", "127.", "[::1]"})
    if (host.starts_with(local)) return true;
  return false;
}

}  // namespace

struct OpenAiTarget::Reply {
  long status = 0;
  std::string error_body;
  StreamedAnswer collected;
  double seconds = 0;
};

struct OpenAiTarget::Connection {
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
  const std::atomic<bool>& cancelled;
  std::function<void(std::string_view)> on_bytes;
  char problem[CURL_ERROR_SIZE] = {};

  explicit Connection(const std::atomic<bool>& flag) : cancelled(flag) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    curl_slist_free_all(headers);
    if (curl) curl_easy_cleanup(curl);
  }

  static size_t write(char* bytes, size_t, size_t count, void* self) {
    static_cast<Connection*>(self)->on_bytes({bytes, count});
    return count;
  }
  static int progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Connection*>(self)->cancelled.load() ? 1 : 0;
  }

  void open(const std::string& base, const std::string& api_key) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    if (!curl) fail("--against: libcurl cannot be started");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");  // a wait for "100 Continue" would count as latency
    if (!api_key.empty()) headers = curl_slist_append(headers, ("Authorization: Bearer " + api_key).c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeout_s);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSilence_s);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Connection::write);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Connection::progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem);
    if (is_local(base)) curl_easy_setopt(curl, CURLOPT_PROXY, "");  // a company's proxy cannot reach this machine
  }

  // The HTTP status; a request that was cancelled has status 0. Throws Error when there is no whole answer.
  long perform(const std::string& url) {
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    problem[0] = 0;
    const CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_ABORTED_BY_CALLBACK && cancelled) return 0;
    if (code != CURLE_OK)
      fail("{}: {}; is the server running, and is this its address?", url,
           problem[0] ? problem : curl_easy_strerror(code));
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
  }
};

OpenAiTarget::OpenAiTarget(Endpoint endpoint, const std::atomic<bool>& cancelled)
    : endpoint_(std::move(endpoint)),
      base_(base_of(endpoint_.url)),
      connection_(std::make_unique<Connection>(cancelled)) {
  connection_->open(base_, endpoint_.api_key);
  if (endpoint_.model.empty()) endpoint_.model = only_model();
}

OpenAiTarget::~OpenAiTarget() = default;

std::string OpenAiTarget::only_model() {
  std::string body;
  connection_->on_bytes = [&](std::string_view bytes) {
    if (body.size() < kMaxErrorBytes * 16) body += bytes;
  };
  curl_easy_setopt(connection_->curl, CURLOPT_HTTPGET, 1L);
  const std::string url = base_ + "/models";
  const long status = connection_->perform(url);
  const ordered_json json = checkpoint::parse_or_discard(body);
  std::vector<std::string> names;
  if (status == 200 && json.is_object() && json.contains("data") && json["data"].is_array())
    for (const ordered_json& model : json["data"])
      if (model.is_object() && model.contains("id") && model["id"].is_string()) names.push_back(model["id"]);
  if (names.size() == 1) return names.front();
  if (names.empty())
    fail("{}: the server answered HTTP {} and no list of models ({}); name one with --model, a key with --api-key", url,
         status, refusal_message(body));
  fail("{}: this server has several models; choose one with --model: {}", url, fmt::join(names, ", "));
}

OpenAiTarget::Reply OpenAiTarget::post(const std::string& body) {
  Reply reply;
  size_t received = 0;
  const Clock::time_point start = Clock::now();
  const auto now = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  EventStream events([&](std::string_view data) { reply.collected.event(data, now()); });
  CURL* const curl = connection_->curl;
  connection_->on_bytes = [&](std::string_view bytes) {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    received += bytes.size();
    if (status != 200) {
      if (reply.error_body.size() < kMaxErrorBytes) reply.error_body += bytes;
    } else if (received < kMaxAnswerBytes) {
      events.push(bytes);
    }
  };
  curl_easy_setopt(curl, CURLOPT_POST, 1L);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.size()));
  reply.status = connection_->perform(base_ + "/chat/completions");
  events.finish();
  reply.seconds = now();
  return reply;
}

bool OpenAiTarget::refuses(const Reply& reply, const char* field) {
  return (reply.status == 400 || reply.status == 422) &&
         std::find(refused_.begin(), refused_.end(), field) == refused_.end();
}

measure::TaskRun OpenAiTarget::run(const std::string& user_message, const measure::Protocol& protocol) {
  ordered_json request = {{"model", endpoint_.model},
                          {"messages", ordered_json::array({{{"role", "user"}, {"content", user_message}}})},
                          {"max_tokens", protocol.max_new_tokens},
                          {"temperature", 0},
                          {"stream", true},
                          {"stream_options", {{"include_usage", true}}}};
  if (!protocol.stop_at_eos) request["ignore_eos"] = true;  // vLLM's and SGLang's; most others pass it over
  for (const std::string& field : refused_) request.erase(field);
  Reply reply = post(request.dump());
  for (const char* field : {"ignore_eos", "stream_options"}) {
    if (!request.contains(field) || !refuses(reply, field)) continue;
    request.erase(field);
    reply = post(request.dump());
    if (reply.status == 200) refused_.push_back(field);
  }
  if (connection_->cancelled) return std::move(reply.collected.run);
  const std::string url = base_ + "/chat/completions";
  if (reply.status != 200) {
    const char* remedy = reply.status == 401 || reply.status == 403 ? "; give its key with --api-key or OPENAI_API_KEY"
                         : reply.status == 404                      ? "; check the address and --model"
                                                                    : "";
    fail("{}: the server answered HTTP {}: {}{}", url, reply.status, refusal_message(reply.error_body), remedy);
  }
  StreamedAnswer& collected = reply.collected;
  if (!collected.error.empty()) fail("{}: the server broke off: {}", url, collected.error);
  if (!collected.ended)
    fail("{}: the stream ended before the answer did (no finish_reason and no [DONE]); the server's log may say why",
         url);
  if (collected.run.token_times_s.empty()) fail("{}: the server's answer has no text", url);
  if (!collected.has_usage) {
    collected.run.new_tokens = collected.pieces;
    counted_pieces_ = true;
  }
  collected.run.latency_s = collected.run.token_times_s.back();
  return std::move(collected.run);
}

}  // namespace updraft::cli
