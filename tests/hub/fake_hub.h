// A hub server inside the test: speaks the Hub's protocol on a loopback address and misbehaves on command, request by
// request. Counts what it sent and which tokens it saw. Files are made from a seed, so that large ones need no memory.
// For tests only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "hub/digest.h"
#include "hub/names.h"

namespace updraft::hub::test {

// A file given as text, or `size` bytes made from `seed`.
struct FakeFile {
  std::string text;
  int64_t size = 0;
  uint64_t seed = 0;
  bool large = false;  // LFS: has a sha256
  std::string sha256, git_sha1;

  void read(int64_t offset, char* out, int64_t bytes) const {
    if (seed == 0) {
      std::memcpy(out, text.data() + offset, size_t(bytes));
      return;
    }
    for (int64_t i = 0; i < bytes;) {
      uint64_t z = (seed << 40) + uint64_t((offset + i) / 8);
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      const int64_t skip = (offset + i) % 8, part = std::min(8 - skip, bytes - i);
      std::memcpy(out + i, reinterpret_cast<const char*>(&z) + skip, size_t(part));
      i += part;
    }
  }
  void hash() {
    Digest sha(Digest::kSha256), git = Digest::git_blob(size);
    std::string buffer(1 << 20, 0);
    for (int64_t at = 0; at < size; at += int64_t(buffer.size())) {
      const int64_t part = std::min<int64_t>(size - at, int64_t(buffer.size()));
      read(at, buffer.data(), part);
      sha.update(std::string_view(buffer.data(), size_t(part)));
      git.update(std::string_view(buffer.data(), size_t(part)));
    }
    sha256 = sha.hex();
    git_sha1 = git.hex();
  }
};

struct FakeRepository {
  std::string id = "org/model", commit = "0123456789abcdef0123456789abcdef01234567";
  std::map<std::string, FakeFile> files;
  void add(const std::string& path, const std::string& text) {
    add_file(path, {text, int64_t(text.size()), 0, false, "", ""});
  }
  void add_large(const std::string& path, int64_t size, uint64_t seed) {
    add_file(path, {"", size, seed, true, "", ""});
  }
  void add_file(const std::string& path, FakeFile file) {
    file.hash();
    files[path] = std::move(file);
  }
};

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
  int64_t after = 0;   // kCut, kStall: body bytes before it happens
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
  explicit FakeHub(const FakeRepository& repository, Misbehave misbehave = {}, const char* address = "127.0.0.1")
      : repository_(repository), misbehave_(std::move(misbehave)), address_(address) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    ::inet_pton(AF_INET, address, &name.sin_addr);
    socklen_t length = sizeof name;
    const int small = 64 << 10;
    ::setsockopt(listener_, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);  // so that "sent" is close to "received"
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
  int page_size = 2;       // files per page of the listing
  std::string next_host;   // host in the link to the next page; empty: our own
  double bytes_per_s = 0;  // 0: unlimited, per connection

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
  static bool send_all(int socket, const char* data, size_t bytes) {
    while (bytes > 0) {
      const ssize_t sent = ::send(socket, data, bytes, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data += sent, bytes -= size_t(sent);
    }
    return true;
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
      request.end = std::atoll(range.c_str() + range.find('-') + 1);
    }
    const std::string resolve = "/" + repository_.id + "/resolve/";
    request.body = request.path.starts_with(resolve);
    ++requests_;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      log_.push_back(request);
    }
    const Fault fault = misbehave_ ? misbehave_(request) : Fault{};
    const bool head = request.method == "HEAD";
    if (fault.kind == Fault::kStatus) return reply(socket, fault.status, fault.header, "no", head);
    if (fault.kind == Fault::kRedirect) return reply(socket, 302, "Location: " + fault.header + "\r\n", "moved", head);
    if (request.path == "/api/models/" + repository_.id + "/revision/main")
      return reply(socket, 200, "", "{\"sha\": \"" + repository_.commit + "\"}", head);
    const std::string tree = "/api/models/" + repository_.id + "/tree/" + repository_.commit;
    if (request.path.starts_with(tree)) return send_tree(socket, request.path, tree);
    if (request.body) {
      std::string rest = request.path.substr(resolve.size());
      rest = unquote(rest.substr(rest.find('/') + 1));
      rest = rest.substr(0, rest.find('?'));
      const auto found = repository_.files.find(rest);
      if (found != repository_.files.end()) return send_file(socket, request, found->second, fault);
      return reply(socket, 404, "X-Error-Code: EntryNotFound\r\n", "none", head);
    }
    return reply(socket, 404, "X-Error-Code: RepoNotFound\r\nX-Error-Message: Repository not found\r\n", "none", head);
  }

  bool send_tree(int socket, const std::string& path, const std::string& tree) const {
    const size_t cursor = path.find("cursor=");
    const size_t first = cursor == std::string::npos ? 0 : size_t(std::atoll(path.c_str() + cursor + 7));
    std::string body = "[{\"type\":\"directory\",\"path\":\"folder\",\"oid\":\"x\"}";
    size_t i = 0;
    for (const auto& [name, file] : repository_.files) {
      if (i >= first && i < first + size_t(page_size)) {
        body += ",{\"type\":\"file\",\"path\":\"" + name + "\",\"size\":" + std::to_string(file.size) + ",\"oid\":\"" +
                file.git_sha1 + "\"";
        if (file.large)
          body += ",\"lfs\":{\"oid\":\"" + file.sha256 + "\",\"size\":" + std::to_string(file.size) +
                  ",\"pointerSize\":134}";
        body += "}";
      }
      ++i;
    }
    std::string link;
    if (first + size_t(page_size) < repository_.files.size())
      link = "Link: <" + (next_host.empty() ? url() : next_host) + tree +
             "?recursive=true&expand=false&cursor=" + std::to_string(first + size_t(page_size)) + ">; rel=\"next\"\r\n";
    return reply(socket, 200, link, body + "]", false);
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
    head += fault.header;
    if (!send_text(socket, head + "\r\n")) return false;
    if (request.method == "HEAD") return true;
    std::string buffer(32 << 10, 0);
    for (int64_t at = begin; at < end && !stopping_;) {
      int64_t part = std::min<int64_t>(int64_t(buffer.size()), end - at);
      if (fault.kind == Fault::kDrip) part = 1;
      if (fault.kind == Fault::kCut || fault.kind == Fault::kStall) part = std::min(part, fault.after - (at - begin));
      if (part == 0) {
        if (fault.kind == Fault::kStall) wait_for_close(socket);
        ::shutdown(socket, SHUT_WR);
        wait_for_close(socket);
        return false;
      }
      file.read(at, buffer.data(), part);
      if (fault.kind == Fault::kWrongBytes) buffer[size_t(part) / 2] ^= 1;
      if (!send_all(socket, buffer.data(), size_t(part))) return false;
      sent_bytes_ += part;
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
