#include "hub/digest.h"

#include <openssl/evp.h>

#include <vector>

#include "base/check.h"
#include "base/file.h"

namespace updraft::hub {

struct Digest::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Digest::Digest(Kind kind) : context_(std::make_unique<Context>()) {
  if (EVP_DigestInit_ex(context_->evp, kind == kSha1 ? EVP_sha1() : EVP_sha256(), nullptr) != 1)
    fail("OpenSSL offers no {} here, so downloads cannot be verified", kind == kSha1 ? "SHA-1" : "SHA-256");
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(std::span<const std::byte> bytes) {
  const int good = EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size());
  CHECK(good == 1) << "EVP_DigestUpdate";
}

void Digest::update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }

std::string Digest::hex() {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const int good = EVP_DigestFinal_ex(context_->evp, out, &size);
  CHECK(good == 1) << "EVP_DigestFinal_ex";
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", out[i]);
  return text;
}

Digest Digest::git_blob(int64_t size) {
  Digest digest(kSha1);
  digest.update(fmt::format("blob {}", size));
  digest.update(std::string_view("\0", 1));
  return digest;
}

Digest Digest::for_etag(const std::string& etag, int64_t size) {
  return etag.size() == 40 ? git_blob(size) : Digest(kSha256);
}

std::string file_digest(const std::filesystem::path& path, const std::string& etag_kind) {
  const File file(path);
  file.advise_sequential();
  Digest digest = Digest::for_etag(etag_kind, file.size());
  std::vector<std::byte> buffer(1 << 20);
  for (int64_t at = 0; at < file.size();) {
    const auto part = std::span(buffer).first(size_t(std::min<int64_t>(int64_t(buffer.size()), file.size() - at)));
    file.read_at(at, part);
    digest.update(part);
    at += int64_t(part.size());
  }
  return digest.hex();
}

}  // namespace updraft::hub
