// Pulls from servers that misbehave: what is right arrives, what is wrong is refused in its own words.
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "tests/hub/pull_fixture.h"

namespace updraft::hub::test {
namespace {

TEST_F(PullTest, ALiarInAMixtureCostsAtMostOneRefetch) {
  // Whoever of two or three lies, and whoever of them is asked first: with others that cut and stall.
  for (const int sources : {2, 3})
    for (int liar = 0; liar < sources; ++liar) {
      std::vector<std::unique_ptr<FakeHub>> hubs;
      std::vector<std::string> urls;
      std::atomic<int> requests{0};
      for (int i = 0; i < sources; ++i) {
        hubs.push_back(std::make_unique<FakeHub>(
            repository_,
            [&requests, lies = i == liar](const FakeRequest& request) {
              if (!request.body || !request.path.ends_with("safetensors")) return Fault{};
              if (++requests % 2 == 0 && requests < 40) return Fault{Fault::kStatus, 0, 503, ""};
              return lies ? Fault{Fault::kWrongBytes, 0, 0, ""} : Fault{};
            },
            ("127.0.0." + std::to_string(i + 1)).c_str()));
        urls.push_back(hubs.back()->url());
      }
      PullOptions o = options(urls);
      o.transfer.patience = {40, 0.01, 0.05, 3};
      o.cache = folder_.path() / std::to_string(10 * sources + liar);
      messages_.clear();
      const PullResult result = pull(o);
      expect_right(result.folder);
      int64_t sent = 0;
      for (const auto& hub : hubs) sent += hub->sent_bytes();
      // What comes before a liar's bytes in the same piece is kept, what comes after it in that piece is not.
      EXPECT_LE(sent, 2 * needed_bytes() + 8 * o.transfer.piece_bytes) << messages_;
      for (int i = 0; i < sources; ++i) {
        const bool named = messages_.find(hubs[size_t(i)]->host() + " sent wrong bytes") != std::string::npos;
        EXPECT_TRUE(i == liar || !named) << messages_;
      }
      std::error_code error;
      for (const auto& entry : fs::recursive_directory_iterator(o.cache, error))
        EXPECT_EQ(entry.path().string().find(".updraft."), std::string::npos) << entry.path();
    }
}

TEST_F(PullTest, ContinuesAtTheSameByteAfterEveryKindOfCut) {
  for (const Fault& fault :
       {Fault{Fault::kCut, 100'001, 0, ""}, Fault{Fault::kStall, 77'777, 0, ""}, Fault{Fault::kNoLength, 0, 0, ""},
        Fault{Fault::kStatus, 0, 503, ""}, Fault{Fault::kStatus, 0, 500, ""}, Fault{Fault::kDrip, 0, 0, ""}}) {
    FakeHub hub(repository_, first(fault.kind == Fault::kDrip || fault.kind == Fault::kStall ? 2 : 5, fault));
    PullOptions o = options({hub.url()});
    o.local_folder = folder_.path() / ("kind" + std::to_string(fault.kind) + std::to_string(fault.status));
    const PullResult result = pull(o);
    expect_right(result.folder);
    EXPECT_LE(hub.sent_bytes(), needed_bytes() + 100'000) << fault.kind;  // nothing twice but buffers in the sockets
  }
}

TEST_F(PullTest, TheNextSourceContinuesTheSameFile) {
  std::atomic<int64_t> given{0};
  FakeHub dying(repository_, [&](const FakeRequest& request) {
    if (!request.body || !request.path.ends_with("safetensors")) return Fault{};
    return ++given > 3 ? Fault{Fault::kStatus, 0, 502, ""} : Fault{Fault::kCut, 200'000, 0, ""};
  });
  FakeHub good(repository_, {}, "127.0.0.2");
  const PullResult result = pull(options({dying.url(), good.url()}));
  expect_right(result.folder);
  EXPECT_LE(dying.sent_bytes() + good.sent_bytes(), needed_bytes() + 100'000);
  EXPECT_EQ(result.from.size(), 2u) << messages_;
}

TEST_F(PullTest, AfterANameThatCannotBeResolvedAllGoesOn) {
  ::setenv("no_proxy", "*", 1);  // a proxy of this machine would be asked for the name
  // Names have at most 63 characters between dots: the resolver says no without a network.
  const std::string nowhere = "http://" + std::string(64, 'a') + ".invalid";
  FakeHub hub(repository_);
  PullOptions o = options({nowhere, hub.url()});
  HttpClient client(o.transfer.http);
  for (int attempt = 0; attempt < 2; ++attempt) {
    HttpRequest request;
    request.url = nowhere + "/x";
    const auto [head, failure] = client.perform(request);
    ASSERT_TRUE(failure) << attempt;
    EXPECT_EQ(failure->refusal, Refusal::kNetwork) << attempt;
    EXPECT_THAT(failure->what, HasSubstr("Could not resolve host")) << attempt;
  }
  SmallRequest small;
  small.url = hub.url() + "/api/models/org/model/revision/main";
  EXPECT_THAT(fetch_small(client, small).body, HasSubstr(repository_.commit));
  EXPECT_EQ(refusal(options({nowhere})), Refusal::kNetwork);
  messages_.clear();
  expect_right(pull(o).folder);
  EXPECT_THAT(messages_, HasSubstr("Could not resolve host"));
  EXPECT_THAT(messages_, HasSubstr("; trying " + hub.host()));
}

TEST_F(PullTest, ALiarCostsOneFileAndIsDropped) {
  FakeHub liar(repository_, [](const FakeRequest& request) {
    return request.body && request.path.ends_with("safetensors") ? Fault{Fault::kWrongBytes, 0, 0, ""} : Fault{};
  });
  FakeHub good(repository_, {}, "127.0.0.2");
  PullOptions o = options({liar.url(), good.url()});
  o.transfer.files_in_parallel = 1;
  const PullResult result = pull(o);
  expect_right(result.folder);
  EXPECT_THAT(messages_, HasSubstr(liar.host() + " sent wrong bytes"));
  EXPECT_LE(liar.sent_bytes() + good.sent_bytes(), needed_bytes() + kShardBytes + 100'000);
  // Alone it is refused, and nothing gets its final name.
  PullOptions alone = options({liar.url()});
  alone.local_folder = folder_.path() / "alone";
  std::string text;
  EXPECT_EQ(refusal(alone, &text), Refusal::kWrongHash);
  EXPECT_THAT(text, HasSubstr(liar.host()));
  EXPECT_FALSE(is_there(*alone.local_folder / "model-00001-of-00002.safetensors"));
}

TEST_F(PullTest, RefusalsHaveTheirOwnWordsAndCodes) {
  struct Case {
    Fault fault;
    Refusal refusal;
    const char* words;
  };
  const Case cases[] = {
      {{Fault::kShortLength, 0, 0, ""}, Refusal::kWrongSize, "the listing says"},
      {{Fault::kGzip, 0, 0, ""}, Refusal::kCompressed, "gzip"},
      {{Fault::kPage, 0, 0, ""}, Refusal::kNotTheFile, "web page"},
      {{Fault::kPointer, 0, 0, ""}, Refusal::kNotTheFile, "LFS pointer"},
      {{Fault::kIgnoreRange, 200'000, 0, ""}, Refusal::kNoRanges, "ignores ranges"},  // and is always cut
      {{Fault::kStatus, 0, 416, ""}, Refusal::kRangeRefused, "416"},
      {{Fault::kStatus, 0, 401, ""}, Refusal::kUnauthorized, "HF_TOKEN"},
      {{Fault::kStatus, 0, 403, "X-Error-Code: GatedRepo\r\n"}, Refusal::kGated, "accept its terms"},
      {{Fault::kStatus, 0, 404, "X-Error-Code: EntryNotFound\r\n"}, Refusal::kNoFile, "404"},
      {{Fault::kStatus, 0, 429, "Retry-After: 4000\r\n"}, Refusal::kTooManyRequests, "429"},
      {{Fault::kRedirect, 0, 0, "/loop"}, Refusal::kRedirects, "loop"},
      {{Fault::kRedirect, 0, 0, "ftp://127.0.0.1/x"}, Refusal::kRedirects, "no http address"},
      {{Fault::kStatus, 0, 503, ""}, Refusal::kNetwork, "503"},
  };
  int i = 0;
  for (const Case& c : cases) {
    FakeHub hub(repository_, [&](const FakeRequest& request) {
      const bool hit = (request.body && request.path.ends_with("safetensors")) || request.path == "/loop";
      return hit ? c.fault : Fault{};
    });
    PullOptions o = options({hub.url()});
    o.local_folder = folder_.path() / std::to_string(i++);
    std::string text;
    EXPECT_EQ(refusal(o, &text), c.refusal) << text;
    EXPECT_THAT(text, HasSubstr(c.words));
    EXPECT_THAT(text, HasSubstr("127.0.0.1"));
    EXPECT_FALSE(is_there(*o.local_folder / "model-00001-of-00002.safetensors"));
  }
}

TEST_F(PullTest, RefusalsOfTheListing) {
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.repository = "org/other";
  EXPECT_EQ(refusal(o), Refusal::kNoRepository);
  o = options({hub.url()});
  o.include = {"nothing*"};
  EXPECT_EQ(refusal(o), Refusal::kNoFile);
  FakeHub closed(repository_, [](const FakeRequest&) {
    return Fault{Fault::kStatus, 0, 404, "X-Error-Code: RevisionNotFound\r\n"};
  });
  EXPECT_EQ(refusal(options({closed.url()})), Refusal::kNoRevision);
  EXPECT_EQ(refusal(options({"http://127.0.0.1:1"})), Refusal::kNetwork);
  PullOptions offline = options({hub.url()});
  offline.offline = true;
  EXPECT_EQ(refusal(offline), Refusal::kOffline);
  FakeRepository evil = repository_;
  evil.add("x/../../evil.safetensors", "x");
  FakeHub evil_hub(evil);
  EXPECT_EQ(refusal(options({evil_hub.url()})), Refusal::kUnsafeName);
}

TEST_F(PullTest, AServerWithoutRangesStartsOverAndNeverSplices) {
  FakeHub hub(repository_, [](const FakeRequest& request) {
    if (!request.body) return Fault{};
    return Fault{Fault::kIgnoreRange, 0, 0, ""};
  });
  expect_right(pull(options({hub.url()})).folder);
}

TEST_F(PullTest, AFileThatChangesBetweenTwoRangesIsNotSpliced) {
  std::atomic<int> count{0};
  FakeHub hub(repository_, [&](const FakeRequest& request) {
    if (!request.path.ends_with("00001-of-00002.safetensors")) return Fault{};
    // The first replies carry another file's tag and bytes, as before an upload.
    return ++count <= 2 ? Fault{Fault::kWrongBytes, 0, 0, "ETag: \"old\"\r\n"}
                        : Fault{Fault::kNone, 0, 0, "ETag: \"new\"\r\n"};
  });
  PullOptions o = options({hub.url()});
  o.transfer.connections = 1;
  expect_right(pull(o).folder);
  EXPECT_THAT(messages_, HasSubstr("changed on the server"));
}

TEST_F(PullTest, SignedAddressesExpireInMidFileAndNoTokenLeavesItsHost) {
  std::atomic<int> epoch{0}, uses{0};
  FakeHub storage(
      repository_,
      [&](const FakeRequest& request) {
        if (++uses % 5 == 0) ++epoch;
        const bool current = request.path.ends_with("?sign=" + std::to_string(epoch));
        return current ? Fault{} : Fault{Fault::kStatus, 0, 403, ""};
      },
      "127.0.0.3");
  FakeHub hub(repository_, [&](const FakeRequest& request) {
    if (!request.body || !request.path.ends_with("safetensors")) return Fault{};
    return Fault{Fault::kRedirect, 0, 0, storage.url() + request.path + "?sign=" + std::to_string(epoch)};
  });
  PullOptions o = options({hub.url()});
  o.sources.explicit_token = "hf_secret";
  expect_right(pull(o).folder);
  EXPECT_GT(epoch, 3);
  for (const FakeRequest& request : hub.log()) EXPECT_EQ(request.authorization, "Bearer hf_secret");
  for (const FakeRequest& request : storage.log()) EXPECT_EQ(request.authorization, "");
}

TEST_F(PullTest, TheEnvironmentsTokenStaysAtItsOwnHost) {
  FakeHub mirror(repository_), home(repository_, {}, "127.0.0.2");
  PullOptions o = options({mirror.url(), home.url()});
  o.sources.default_endpoint = home.url();
  o.sources.token = "hf_secret";
  const auto sources = make_sources(o.sources);
  EXPECT_EQ(sources[0].token, "");
  EXPECT_TRUE(sources[0].token_withheld);
  EXPECT_EQ(sources[1].token, "hf_secret");
  pull(o);
  for (const FakeRequest& request : mirror.log()) EXPECT_EQ(request.authorization, "");
  o.sources.endpoints = {"http://192.0.2.1"};  // never contacted: refused before
  o.sources.explicit_token = "hf_secret";
  EXPECT_EQ(refusal(o), Refusal::kTokenElsewhere);
}

TEST_F(PullTest, WaitsAsLongAs429Asks) {
  FakeHub hub(repository_, first(3, {Fault::kStatus, 0, 429, "Retry-After: 1\r\n"}));
  PullOptions o = options({hub.url()});
  const auto started = std::chrono::steady_clock::now();
  expect_right(pull(o).folder);
  EXPECT_GE(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(950));
  EXPECT_THAT(messages_, HasSubstr("waiting 1 s"));
}

TEST_F(PullTest, TheRateLimitHolds) {
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.transfer.max_bytes_per_s = 5'000'000;
  const auto started = std::chrono::steady_clock::now();
  expect_right(pull(o).folder);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  EXPECT_GE(seconds, double(needed_bytes()) / 5e6 - 1.1);  // an idle second may be made up for
}

// A TLS server with a certificate nobody signed.
class BadTls {
 public:
  BadTls() {
    key_ = EVP_EC_gen("P-256");
    certificate_ = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate_), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate_), 3600);
    X509_set_pubkey(certificate_, key_);
    X509_sign(certificate_, key_, EVP_sha256());
    context_ = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(context_, certificate_);
    SSL_CTX_use_PrivateKey(context_, key_);
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof name;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 || ::listen(listener_, 8) != 0)
      std::abort();
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&name), &length);
    port_ = ntohs(name.sin_port);
    thread_ = std::thread([this] {
      for (int socket; (socket = ::accept(listener_, nullptr, nullptr)) >= 0; ::close(socket)) {
        SSL* ssl = SSL_new(context_);
        SSL_set_fd(ssl, socket);
        SSL_accept(ssl);  // fails: the client turns away
        SSL_free(ssl);
      }
    });
  }
  ~BadTls() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
    SSL_CTX_free(context_);
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  std::string url() const { return "https://127.0.0.1:" + std::to_string(port_); }

 private:
  EVP_PKEY* key_;
  X509* certificate_;
  SSL_CTX* context_;
  int listener_, port_ = 0;
  std::thread thread_;
};

TEST_F(PullTest, ABadCertificateIsRefusedByName) {
  BadTls bad;
  std::string text;
  EXPECT_EQ(refusal(options({bad.url()}), &text), Refusal::kCertificate);
  EXPECT_THAT(text, HasSubstr("certificate"));
  FakeHub good(repository_);
  expect_right(pull(options({bad.url(), good.url()})).folder);
}

}  // namespace
}  // namespace updraft::hub::test
