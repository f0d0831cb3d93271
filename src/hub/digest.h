// Digest: SHA-256 and SHA-1 through OpenSSL, which uses the processor's instructions for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace updraft::hub {

class Digest {
 public:
  enum Kind { kSha1, kSha256 };
  explicit Digest(Kind);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void update(std::span<const std::byte>);
  void update(std::string_view);
  std::string hex();  // ends the digest

  // Git's name for a file: sha1("blob " + size + "\0" + bytes); the bytes are still to be given.
  static Digest git_blob(int64_t size);
  // The digest that `etag` is one of: 64 digits sha256, 40 digits git's sha1.
  static Digest for_etag(const std::string& etag, int64_t size);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Reads a whole file; throws Error when it cannot be read.
std::string file_digest(const std::filesystem::path&, const std::string& etag_kind);

}  // namespace updraft::hub
