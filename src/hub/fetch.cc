#include "hub/fetch.h"

#include <algorithm>
#include <cctype>

#include "base/file.h"

namespace updraft::hub {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return out;
}

// Judges the head of a reply; throws HubError. Returns false when the file on the server changed. `shorter`: the range
// begins where it should and ends before.
bool check_head(const FetchRequest& request, const std::string& host, const HttpHead& head, std::string& etag,
                bool& shorter) {
  const std::string encoding = lower(head.get("content-encoding"));
  if (!encoding.empty() && encoding != "identity")
    refuse(Refusal::kCompressed,
           "{} sends {} compressed ({}) although the plain bytes were asked for; a range of that cannot be joined",
           host, request.path, encoding);
  const bool html = lower(head.get("content-type")).starts_with("text/html") && !request.path.ends_with(".html");
  if (head.status == 206) {
    const auto range = parse_content_range(head.get("content-range"));
    if (!range || range->first != request.begin)
      refuse(Refusal::kRangeRefused, "{} answers bytes {}- of {} with another range (\"{}\")", host, request.begin,
             request.path, head.get("content-range").substr(0, 80));
    if (range->total >= 0 && range->total != request.file_size)
      refuse(Refusal::kWrongSize, "{} says {} has {} bytes, the listing says {}", host, request.path, range->total,
             request.file_size);
    shorter = range->last + 1 < request.end;
  } else {
    const auto length = parse_integer(head.get("content-length"));
    if (html && length != request.file_size)
      refuse(Refusal::kNotTheFile, "{} answers with a web page where {} should be (a login or error page of a proxy?)",
             host, request.path);
    if (length && *length != request.file_size)
      refuse(Refusal::kWrongSize, "{} sends {} bytes as {}, the listing says {}", host, *length, request.path,
             request.file_size);
    if (request.begin != 0 || request.end != request.file_size)
      refuse(Refusal::kNoRanges,
             "{} ignores ranges: it answers with the whole of {}, which must not be joined to a part", host,
             request.path);
  }
  etag = head.get("etag");
  if (etag.starts_with("W/")) etag.clear();
  return request.known_etag.empty() || etag.empty() || request.known_etag == etag;
}

FetchOutcome fetch_local(const FetchRequest& request, const Sink& sink) {
  FetchOutcome outcome;
  try {
    const File file(request.url);
    if (file.size() != request.file_size)
      refuse(Refusal::kWrongSize, "{} has {} bytes, the listing says {}", request.url, file.size(), request.file_size);
    std::vector<std::byte> buffer(1 << 20);
    for (int64_t at = request.begin; at < request.end;) {
      const auto part = std::span(buffer).first(size_t(std::min<int64_t>(int64_t(buffer.size()), request.end - at)));
      file.read_at(at, part);
      sink(at, part);
      at += int64_t(part.size());
      outcome.received += int64_t(part.size());
    }
  } catch (const HubError& error) {
    if (error.refusal() != Refusal::kWrongSize) throw;
    outcome.failure = FetchError{error, {}};
  } catch (const Error& error) {
    outcome.failure = FetchError{HubError(Refusal::kNoFile, error.what()), {}};
  }
  return outcome;
}

HttpRequest make_request(const FetchRequest& request, const std::string& url) {
  HttpRequest http;
  http.url = url;
  if (!request.whole) http.headers.push_back(fmt::format("Range: bytes={}-{}", request.begin, request.end - 1));
  if (!request.source->token.empty() && origin_of(url) == origin_of(request.source->base))
    http.headers.push_back("Authorization: Bearer " + request.source->token);
  return http;
}

// One hop. Returns the next URL of a redirect, or "" when this was the end.
std::string hop(HttpClient& client, const FetchRequest& request, const Sink& sink, std::vector<std::string>& seen,
                FetchOutcome& outcome) {
  const std::string url = seen.back(), host = host_of(url);
  HttpRequest http = make_request(request, url);
  bool good = false, shorter = false;
  http.on_head = [&](const HttpHead& head) {
    if (head.status != 200 && head.status != 206) return head.status >= 300 && head.status < 400;
    std::string etag;
    if (!check_head(request, host, head, etag, shorter)) {
      outcome.changed = true;
      outcome.etag = etag;
      return false;
    }
    outcome.etag = etag;
    outcome.ranged = head.status == 206;
    good = true;
    return true;
  };
  http.on_data = [&](std::span<const std::byte> bytes) {
    if (!good) return true;  // the body of a redirect
    const int64_t at = request.begin + outcome.received;
    const auto wanted = bytes.first(size_t(std::min<int64_t>(int64_t(bytes.size()), request.end - at)));
    if (at == 0 || (shorter && outcome.received == 0)) check_beginning(request.path, host, wanted);
    if (!wanted.empty()) sink(at, wanted);
    outcome.received += int64_t(wanted.size());
    return request.begin + outcome.received < request.end;
  };
  const auto [head, failure] = client.perform(http);
  if (outcome.changed) return "";
  const bool complete = request.begin + outcome.received >= request.end;
  if (good && complete) return "";
  if (failure) {
    outcome.failure =
        FetchError{HubError(failure->refusal, fmt::format("{}: {} at byte {} of {}", host, failure->what,
                                                          request.begin + outcome.received, request.path)),
                   {},
                   failure->what.starts_with("stalled")};
    return "";
  }
  if (good) {
    outcome.failure =
        FetchError{HubError(Refusal::kNetwork, fmt::format("{}: the answer ended at byte {} of {}, before its end",
                                                           host, request.begin + outcome.received, request.path)),
                   {}};
    return "";
  }
  if (head.status >= 300 && head.status < 400) return next_hop(seen, head);
  outcome.failure = FetchError{status_error(*request.source, url, head, request.repository, "file " + request.path),
                               parse_wait(head.get("retry-after"), head.get("ratelimit"))};
  return "";
}

}  // namespace

FetchOutcome fetch_range(HttpClient& client, const FetchRequest& request, const Sink& sink) {
  if (request.source->kind == SourceKind::kFolder) return fetch_local(request, sink);
  FetchOutcome outcome;
  std::vector<std::string> seen{request.direct_url.empty() ? request.url : request.direct_url};
  try {
    for (std::string next = seen.front(); !next.empty();) {
      next = hop(client, request, sink, seen, outcome);
      if (!next.empty()) seen.push_back(next);
    }
  } catch (const HubError& error) {
    if (error.refusal() == Refusal::kDisk || error.refusal() == Refusal::kInterrupted) throw;
    outcome.failure = FetchError{error, {}};
  }
  if (!outcome.failure && !outcome.changed && seen.back() != request.url) outcome.direct_url = seen.back();
  // A signed address that expired: the source's own address gives a new one.
  if (outcome.failure && !request.direct_url.empty() && outcome.received == 0 && !outcome.failure->wait_s &&
      outcome.failure->error.refusal() != Refusal::kInterrupted) {
    FetchRequest again = request;
    again.direct_url.clear();
    return fetch_range(client, again, sink);
  }
  return outcome;
}

void check_beginning(const std::string& path, const std::string& host, std::span<const std::byte> first) {
  std::string_view text(reinterpret_cast<const char*>(first.data()), std::min<size_t>(first.size(), 256));
  if (text.starts_with("version https://git-lfs.github.com/spec/"))
    refuse(Refusal::kNotTheFile, "{} sends an LFS pointer, not the file {} itself: it holds no large files", host,
           path);
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || path.ends_with(".html")) return;
  const std::string start = lower(text.substr(begin, 15));
  if (start.starts_with("<!doctype html") || start.starts_with("<html"))
    refuse(Refusal::kNotTheFile, "{} sends a web page where {} should be (a login or error page of a proxy?)", host,
           path);
}

}  // namespace updraft::hub
