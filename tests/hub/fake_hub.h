// A hub server inside the test: speaks the Hub's protocol on a loopback address and misbehaves on command, request by
// request. Counts what it sent and which tokens it saw. Speaks ModelScope's protocol and that of Modelers too.
// For tests only.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "hub/names.h"
#include "tests/hub/fake_listings.h"

namespace updraft::hub::test {

struct Fault {
  enum Kind {
    kNone,
    kCut,
    kStall,
    kDrip,
    kShortLength,
    kWrongBytes,
    kGzip,
    kNoLength,
    kIgnoreRange,
    kPage,
    kPointer,
    kRedirect,
    kStatus,
  } kind = kNone;
  int64_t after = 0;   // kCut, kStall: body bytes before it happens; kIgnoreRange: before a cut, 0: none
  int status = 0;      // kStatus
  std::string header;  // an extra header line, or kRedirect's target
};
struct FakeRequest {
  std::string method, path, authorization;
  int64_t begin = 0, end = -1;
  bool ranged = false, body = false;  // body: of a file, not of the API
};

class FakeHub {
 public:
  using Misbehave = std::function<Fault(const FakeRequest&)>;
  explicit FakeHub(const FakeRepository& repository, Misbehave misbehave = {}, const char* address = "127.0.0.1",
                   int send_buffer = 64 << 10)
      : repository_(repository), misbehave_(std::move(misbehave)), address_(address) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    ::inet_pton(AF_INET, address, &name.sin_addr);
    socklen_t length = sizeof name;
    if (send_buffer > 0)  // small: so that "sent" is close to "received"
      ::setsockopt(listener_, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 || ::listen(listener_, 64) != 0)
      std::abort();
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &length);
    port_ = ntohs(name.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~FakeHub() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      for (int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
  }
  std::string url() const { return "http://" + address_ + ":" + std::to_string(port_); }
  std::string host() const { return address_ + ":" + std::to_string(port_); }
  std::string file_url(const std::string& path) const {
    return url() + "/" + repository_.id + "/resolve/" + repository_.commit + "/" + path;
  }
  int64_t sent_bytes() const { return sent_bytes_; }
  int requests() const { return requests_; }
  std::vector<FakeRequest> log() const {
    const std::lock_guard<std::mutex> guard(mutex_);
    return log_;
  }
  int page_size = 2;                   // files per page of the listing
  std::string next_host;               // host in the link to the next page; empty: our own
  std::atomic<double> bytes_per_s{0};  // 0: unlimited, per connection

 private:
  void accept_all() {
    while (!stopping_) {
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) continue;
      const std::lock_guard<std::mutex> guard(mutex_);
      sockets_.insert(socket);
      threads_.emplace_back([this, socket] {
        std::string pending;
        while (!stopping_ && serve(socket, pending)) {
        }
        const std::lock_guard<std::mutex> closing(mutex_);
        sockets_.erase(socket);
        ::close(socket);
      });
    }
  }
  static bool send_all(int socket, const char* data, size_t bytes, std::atomic<int64_t>* count = nullptr) {
    while (bytes > 0) {
      const ssize_t sent = ::send(socket, data, bytes, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      if (count) *count += sent;
      data += sent, bytes -= size_t(sent);
    }
    return true;
  }
  bool send_from_disk(int socket, const FakeFile& file, int64_t begin, int64_t end) {
    const int descriptor = ::open(file.on_disk.c_str(), O_RDONLY | O_CLOEXEC);
    off_t at = begin;
    while (descriptor >= 0 && at < end && !stopping_) {
      const ssize_t sent = ::sendfile(socket, descriptor, &at, size_t(std::min<int64_t>(end - at, 4 << 20)));
      if (sent <= 0) break;
      sent_bytes_ += sent;
    }
    if (descriptor >= 0) ::close(descriptor);
    return at == end;
  }
  static bool send_text(int socket, const std::string& text) { return send_all(socket, text.data(), text.size()); }
  static bool reply(int socket, int status, const std::string& headers, const std::string& body, bool head) {
    const std::string top = "HTTP/1.1 " + std::to_string(status) +
                            " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n";
    return send_text(socket, head ? top : top + body);
  }
  static std::string header_of(const std::string& request, const std::string& name) {
    const size_t at = request.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const size_t begin = at + name.size() + 4;
    return request.substr(begin, request.find("\r\n", begin) - begin);
  }

  bool serve(int socket, std::string& pending) {
    size_t end;
    while ((end = pending.find("\r\n\r\n")) == std::string::npos) {
      char buffer[4096];
      const ssize_t got = ::recv(socket, buffer, sizeof buffer, 0);
      if (got <= 0) return false;
      pending.append(buffer, size_t(got));
    }
    const int now = 1;  // a head and its body are two writes: do not wait for the first one's acknowledgement
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
    const std::string text = pending.substr(0, end + 2);
    pending.erase(0, end + 4);
    FakeRequest request;
    const size_t space = text.find(' ');
    request.method = text.substr(0, space);
    request.path = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
    request.authorization = header_of(text, "Authorization");
    const std::string range = header_of(text, "Range");
    if (range.starts_with("bytes=")) {
      request.ranged = true;
      request.begin = std::atoll(range.c_str() + 6);
      const std::string last = range.substr(range.find('-') + 1);
      request.end = last.empty() ? INT64_MAX - 1 : std::atoll(last.c_str());
    }
    const std::string file = path_of_file(request.path);
    request.body = !file.empty();
    ++requests_;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      log_.push_back(request);
    }
    const Fault fault = misbehave_ ? misbehave_(request) : Fault{};
    const bool head = request.method == "HEAD";
    if (fault.kind == Fault::kStatus) return reply(socket, fault.status, fault.header, "no", head);
    if (fault.kind == Fault::kRedirect) return reply(socket, 302, "Location: " + fault.header + "\r\n", "moved", head);
    if (request.body) {
      const auto found = repository_.files.find(file);
      if (found != repository_.files.end()) return send_file(socket, request, found->second, fault);
      return reply(socket, 404, "X-Error-Code: EntryNotFound\r\n", "none", head);
    }
    if (const auto answer = answer_of_api(request.path))
      return reply(socket, 200, "Content-Type: application/json\r\n" + answer->second, answer->first, head);
    return reply(socket, 404, "X-Error-Code: RepoNotFound\r\nX-Error-Message: Repository not found\r\n", "none", head);
  }

  // The file a download address names, or "".
  std::string path_of_file(std::string path) const {
    path = path.substr(0, path.find('?'));
    for (const std::string& begin : {"/" + repository_.id + "/resolve/", "/models/" + repository_.id + "/resolve/"})
      if (path.starts_with(begin)) return after_slash(path.substr(begin.size()));
    const std::string modelers = "/api/v1/file/" + repository_.id + "/";
    const size_t media = path.find("/media/");
    return path.starts_with(modelers) && media != std::string::npos ? unquote(path.substr(media + 7)) : "";
  }
  static std::string after_slash(const std::string& text) {  // behind the revision
    const size_t slash = text.find('/');
    return slash == std::string::npos ? "" : unquote(text.substr(slash + 1));
  }
  static std::string query(const std::string& path, const std::string& name) {
    const size_t at = path.find(name + "=");
    return at == std::string::npos
               ? ""
               : unquote(path.substr(at + name.size() + 1, path.find('&', at) - at - name.size() - 1));
  }

  // Body and header lines.
  std::optional<std::pair<std::string, std::string>> answer_of_api(const std::string& path) const {
    const std::string models = "/api/models/" + repository_.id, tree = models + "/tree/" + repository_.commit;
    if (path == models || path.starts_with(models + "/revision/main") ||
        path.starts_with(models + "/revision/" + repository_.commit))
      return std::pair(revision_answer(repository_), std::string());
    if (path.starts_with(tree)) {
      const size_t first = size_t(std::atoll(query(path, "cursor").c_str())), next = first + size_t(page_size);
      std::string link;
      if (next < repository_.files.size())
        link = "Link: <" + (next_host.empty() ? url() : next_host) + tree +
               "?recursive=true&expand=false&cursor=" + std::to_string(next) + ">; rel=\"next\"\r\n";
      return std::pair(tree_answer(repository_, first, size_t(page_size)), link);
    }
    if (path.starts_with("/api/v1/models/" + repository_.id + "/repo/files?") && query(path, "Revision") == "master")
      return std::pair(modelscope_answer(repository_), std::string());
    if (path.starts_with("/api/v1/file/" + repository_.id + "?") && query(path, "ref") == "main")
      return std::pair(modelers_answer(repository_, query(path, "path")), std::string());
    return std::nullopt;
  }

  bool send_file(int socket, const FakeRequest& request, const FakeFile& file, const Fault& fault) {
    if (fault.kind == Fault::kPage)
      return reply(socket, 200, "Content-Type: text/html\r\n", "<!DOCTYPE html><html>log in</html>", false);
    if (fault.kind == Fault::kPointer) {
      const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + file.sha256 + "\n";
      return reply(socket, 206,
                   "Content-Range: bytes " + std::to_string(request.begin) + "-" +
                       std::to_string(request.begin + int64_t(pointer.size()) - 1) + "/" + std::to_string(file.size) +
                       "\r\n",
                   pointer, false);
    }
    const bool ranged = request.ranged && fault.kind != Fault::kIgnoreRange;
    const int64_t begin = ranged ? request.begin : 0, end = ranged ? std::min(request.end + 1, file.size) : file.size;
    if (begin >= file.size && file.size > 0) return reply(socket, 416, "", "", false);
    std::string head = ranged
                           ? "HTTP/1.1 206 Partial\r\nContent-Range: bytes " + std::to_string(begin) + "-" +
                                 std::to_string(end - 1) + "/" +
                                 std::to_string(fault.kind == Fault::kShortLength ? file.size - 1 : file.size) + "\r\n"
                           : "HTTP/1.1 200 OK\r\n";
    const bool no_length = fault.kind == Fault::kNoLength;
    if (!no_length) head += "Content-Length: " + std::to_string(end - begin) + "\r\n";
    if (no_length) head += "Connection: close\r\n";
    if (fault.kind == Fault::kGzip) head += "Content-Encoding: gzip\r\n";
    head += "Accept-Ranges: bytes\r\nX-Repo-Commit: " + repository_.commit + "\r\n" +
            (fault.header.find("ETag:") == std::string::npos ? "ETag: \"" + file.etag() + "\"\r\n" : "") + fault.header;
    if (!send_text(socket, head + "\r\n")) return false;
    if (request.method == "HEAD") return true;
    if (!file.on_disk.empty()) return send_from_disk(socket, file, begin, end) && !no_length;
    std::string buffer(32 << 10, 0);
    for (int64_t at = begin; at < end && !stopping_;) {
      int64_t part = std::min<int64_t>(int64_t(buffer.size()), end - at);
      if (fault.kind == Fault::kDrip) part = 1;
      if (fault.kind == Fault::kCut || fault.kind == Fault::kStall || fault.after > 0)
        part = std::min(part, fault.after - (at - begin));
      if (part == 0) {
        if (fault.kind == Fault::kStall) wait_for_close(socket);
        ::shutdown(socket, SHUT_WR);
        wait_for_close(socket);
        return false;
      }
      file.read(at, buffer.data(), part);
      if (fault.kind == Fault::kWrongBytes) buffer[size_t(part) / 2] ^= 1;
      if (!send_all(socket, buffer.data(), size_t(part), &sent_bytes_)) return false;
      at += part;
      if (fault.kind == Fault::kDrip) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (bytes_per_s > 0) std::this_thread::sleep_for(std::chrono::duration<double>(double(part) / bytes_per_s));
    }
    return !no_length;
  }
  static void wait_for_close(int socket) {
    char byte;
    while (::recv(socket, &byte, 1, 0) > 0) {
    }
  }

  FakeRepository repository_;
  Misbehave misbehave_;
  std::string address_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> sent_bytes_{0};
  std::atomic<int> requests_{0};
  mutable std::mutex mutex_;
  std::set<int> sockets_;
  std::vector<std::thread> threads_;
  std::vector<FakeRequest> log_;
  std::thread acceptor_;
};

}  // namespace updraft::hub::test
