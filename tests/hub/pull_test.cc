// Whole pulls from a server that misbehaves: what is right arrives, what is wrong is refused in its own words.
#include "hub/pull.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/file.h"
#include "hub/bundle.h"
#include "hub/models.h"
#include "hub/part_file.h"
#include "tests/hub/fake_hub.h"
#include "tests/support/random.h"
#include "tests/support/temporary_folder.h"

namespace updraft::hub::test {
namespace {

using testing::HasSubstr;
using updraft::test::TemporaryFolder;

constexpr int64_t kShardBytes = (3 << 20) + 12345;

class PullTest : public testing::Test {
 protected:
  PullTest() {
    repository_.add("config.json", "{\"model_type\": \"x\"}");
    repository_.add("tokenizer.json", "{\"a\": \"tokenizer\"}");
    repository_.add("empty tokenizer.json", "");
    repository_.add("README.md", "not needed");
    repository_.add(
        "model.safetensors.index.json",
        R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
    repository_.add_large("model-00001-of-00002.safetensors", kShardBytes, 1);
    repository_.add_large("model-00002-of-00002.safetensors", kShardBytes + 1, 2);
    repository_.add_large("pytorch_model.bin", 10'000'000, 3);
  }
  PullOptions options(std::vector<std::string> endpoints) const {
    PullOptions options;
    options.repository = repository_.id;
    options.cache = folder_.path() / "hub";
    options.sources.endpoints = std::move(endpoints);
    options.transfer.piece_bytes = 256 << 10;
    options.transfer.connections = 4;
    options.transfer.patience = {4, 0.01, 0.05, 3};
    options.transfer.http.stall_s = 1;
    options.transfer.http.connect_s = 2;
    options.transfer.message = [this](const std::string& sentence) { messages_ += sentence + "\n"; };
    return options;
  }
  static Refusal refusal(const PullOptions& options, std::string* text = nullptr) {
    try {
      pull(options);
    } catch (const HubError& error) {
      if (text) *text = error.what();
      return error.refusal();
    }
    return Refusal(0);
  }
  void expect_right(const fs::path& folder,
                    std::vector<std::string> names = {"config.json", "tokenizer.json", "model.safetensors.index.json",
                                                      "model-00001-of-00002.safetensors",
                                                      "model-00002-of-00002.safetensors"}) const {
    for (const std::string& name : names) {
      const FakeFile& file = repository_.files.at(name);
      ASSERT_TRUE(is_there(folder / name)) << name;
      EXPECT_EQ(file_digest(folder / name, file.sha256), file.sha256) << name;
    }
  }
  // The first `times` requests for bytes of weights go wrong.
  static FakeHub::Misbehave first(int times, Fault fault) {
    auto left = std::make_shared<std::atomic<int>>(times);
    return [left, fault](const FakeRequest& request) {
      return request.body && request.path.find("model-0000") != std::string::npos && (*left)-- > 0 ? fault : Fault{};
    };
  }
  int64_t needed_bytes() const { return 2 * kShardBytes + 1; }

  TemporaryFolder folder_;
  FakeRepository repository_;
  mutable std::string messages_;
};

TEST_F(PullTest, FillsTheCacheAsTheReferenceDoes) {
  FakeHub hub(repository_);
  hub.next_host = "https://huggingface.co";  // as mirrors do: our host must be kept
  const PullResult result = pull(options({hub.url()}));
  expect_right(result.folder);
  const fs::path root = folder_.path() / "hub/models--org--model";
  EXPECT_EQ(result.folder, root / "snapshots" / repository_.commit);
  EXPECT_EQ(read_text_file(root / "refs/main"), repository_.commit);
  const auto& shard = repository_.files.at("model-00001-of-00002.safetensors");
  EXPECT_EQ(fs::read_symlink(result.folder / "model-00001-of-00002.safetensors"), "../../blobs/" + shard.sha256);
  EXPECT_EQ(fs::read_symlink(result.folder / "config.json"),
            "../../blobs/" + repository_.files.at("config.json").git_sha1);
  EXPECT_FALSE(is_there(result.folder / "pytorch_model.bin"));
  EXPECT_FALSE(is_there(result.folder / "README.md"));
  EXPECT_THAT(messages_, HasSubstr("pytorch_model.bin"));
  for (const auto& entry : fs::directory_iterator(root / "blobs"))
    EXPECT_EQ(entry.path().string().find(".updraft."), std::string::npos);
  // Again: nothing is fetched; offline: no request at all.
  const int64_t sent = hub.sent_bytes();
  EXPECT_EQ(pull(options({hub.url()})).fetched_bytes, 0);
  const int requests = hub.requests();
  PullOptions offline = options({hub.url()});
  offline.offline = true;
  EXPECT_EQ(pull(offline).folder, result.folder);
  EXPECT_EQ(hub.sent_bytes(), sent);
  EXPECT_EQ(hub.requests(), requests);
  // verify finds a flipped bit; remove removes.
  const Cache cache(folder_.path() / "hub");
  EXPECT_TRUE(verify_model(cache, "org/model", {}).wrong.empty());
  const fs::path blob = root / "blobs" / shard.sha256;
  std::string bytes = read_text_file(blob);
  bytes[100] ^= 1;
  std::ofstream(blob, std::ios::binary) << bytes;
  EXPECT_EQ(verify_model(cache, "org/model", {}).wrong.size(), 1u);
  EXPECT_GT(remove_model(cache, "org/model"), kShardBytes);
  EXPECT_TRUE(list_models(cache).empty());
}

TEST_F(PullTest, LocalFolderWithMetadata) {
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.local_folder = folder_.path() / "here";
  EXPECT_EQ(pull(o).folder, *o.local_folder);
  expect_right(*o.local_folder);
  const auto metadata =
      parse_metadata(read_text_file(*o.local_folder / ".cache/huggingface/download/config.json.metadata"));
  ASSERT_TRUE(metadata);
  EXPECT_EQ(metadata->commit, repository_.commit);
  EXPECT_EQ(metadata->etag, repository_.files.at("config.json").git_sha1);
  EXPECT_EQ(pull(o).fetched_bytes, 0);
  // A file without metadata is hashed and adopted, one that was changed is fetched again.
  fs::remove_all(*o.local_folder / ".cache");
  EXPECT_EQ(pull(o).fetched_bytes, 0);
  std::ofstream(*o.local_folder / "config.json") << "changed";
  EXPECT_EQ(pull(o).fetched_bytes, repository_.files.at("config.json").size);
  expect_right(*o.local_folder);
}

TEST_F(PullTest, OfflineALocalFolderIsCheckedAndUsed) {
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.local_folder = folder_.path() / "here";
  const PullResult first = pull(o);
  const int requests = hub.requests();
  PullOptions offline = o;
  offline.offline = true;
  for (const std::string& revision : {std::string("main"), repository_.commit}) {
    offline.revision = revision;
    const PullResult again = pull(offline);
    EXPECT_EQ(again.folder, first.folder);
    EXPECT_EQ(again.commit, repository_.commit);
    EXPECT_EQ(std::pair(again.files, again.bytes), std::pair(first.files, first.bytes));
  }
  std::string text;
  offline.revision = "v2";
  EXPECT_EQ(refusal(offline, &text), Refusal::kOffline);
  EXPECT_THAT(text, HasSubstr("(revision v2) has is not recorded"));
  offline.revision = "main";
  offline.repository = "org/other";
  EXPECT_EQ(refusal(offline), Refusal::kOffline) << "another repository's files";
  offline.repository = o.repository;
  // What was not asked for is not there; what is not in the repository is no file.
  offline.include = {"config.json", "pytorch_model.bin"};
  EXPECT_EQ(refusal(offline, &text), Refusal::kOffline);
  EXPECT_THAT(text, HasSubstr("pytorch_model.bin of org/model is missing"));
  offline.include = {"nothing*"};
  EXPECT_EQ(refusal(offline), Refusal::kNoFile);
  offline.include = {"config.json", "tokenizer*"};
  EXPECT_EQ(pull(offline).files, 2);
  offline.include.clear();
  // A file that lost its metadata is hashed; one of another content or none is named.
  fs::remove(*o.local_folder / ".cache/huggingface/download/config.json.metadata");
  EXPECT_EQ(pull(offline).folder, first.folder);
  const fs::path shard = *o.local_folder / "model-00002-of-00002.safetensors";
  std::string bytes = read_text_file(shard);
  bytes[100] ^= 1;
  std::ofstream(shard, std::ios::binary) << bytes;
  fs::last_write_time(shard, fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(refusal(offline, &text), Refusal::kOffline);
  EXPECT_THAT(text, HasSubstr("model-00002-of-00002.safetensors"));
  fs::remove(shard);
  fs::remove(*o.local_folder / "config.json");
  EXPECT_EQ(refusal(offline, &text), Refusal::kOffline);
  EXPECT_THAT(text, HasSubstr("config.json of org/model is missing"));
  EXPECT_THAT(text, HasSubstr("and 1 more"));
  EXPECT_EQ(hub.requests(), requests);
  EXPECT_EQ(pull(o).fetched_bytes, repository_.files.at("config.json").size + kShardBytes + 1);
  EXPECT_EQ(pull(offline).folder, first.folder);
}

TEST_F(PullTest, OfflineAPartOfTheRepositoryIsUsedFromTheCache) {
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.include = {"*.json", "README.md"};
  const PullResult first = pull(o);
  const int requests = hub.requests();
  o.offline = true;
  EXPECT_EQ(pull(o).folder, first.folder);
  o.exclude = {"token*"};
  EXPECT_EQ(pull(o).files, 4);
  std::string text;
  o.exclude = o.include = {};
  EXPECT_EQ(refusal(o, &text), Refusal::kOffline);
  EXPECT_THAT(text, HasSubstr("model-00001-of-00002.safetensors of org/model is missing"));
  o.include = {"*-00001-*"};
  EXPECT_EQ(refusal(o, &text), Refusal::kOffline);
  EXPECT_THAT(text, HasSubstr("model-00001-of-00002.safetensors of org/model is missing"));
  EXPECT_EQ(hub.requests(), requests);
}

TEST_F(PullTest, SpeaksModelScopeAndModelersThroughRedirects) {
  repository_.add("additional_chat_templates/tool.jinja", "{{ x }}");
  FakeHub storage(repository_, {}, "127.0.0.3");
  for (const char* kind : {"modelscope+", "modelers+"}) {
    FakeHub hub(repository_, [&](const FakeRequest& request) {
      const bool weights = request.body && request.path.ends_with("safetensors");
      const std::string name = request.path.substr(request.path.rfind('/') + 1);
      return weights ? Fault{Fault::kRedirect, 0, 0, storage.file_url(name) + "?sign=1"} : Fault{};
    });
    PullOptions o = options({kind + hub.url()});
    o.cache = folder_.path() / kind;
    o.sources.explicit_token = "secret";
    const int64_t before = storage.sent_bytes();
    const PullResult result = pull(o);
    expect_right(result.folder);
    EXPECT_TRUE(is_there(result.folder / "additional_chat_templates/tool.jinja"));
    EXPECT_EQ(storage.sent_bytes() - before, needed_bytes());
    for (const FakeRequest& request : storage.log()) EXPECT_EQ(request.authorization, "");
    for (const FakeRequest& request : hub.log()) {
      EXPECT_EQ(request.authorization, "Bearer secret");
      EXPECT_EQ(request.path.find("/api/models/"), std::string::npos) << request.path;  // its own protocol only
    }
    EXPECT_EQ(pull(o).fetched_bytes, 0);
    o.repository = "org/other";
    EXPECT_EQ(refusal(o), Refusal::kNoRepository);
  }
}

TEST_F(PullTest, SitesOfDifferentKindsContinueEachOthersFiles) {
  std::atomic<int> given{0};
  const auto dying = [&](const FakeRequest& request) {
    if (!request.body || !request.path.ends_with("safetensors")) return Fault{};
    return ++given > 3 ? Fault{Fault::kStatus, 0, 502, ""} : Fault{Fault::kCut, 200'000, 0, ""};
  };
  for (const auto& [first, second] : {std::pair{"modelscope+", ""}, {"", "modelscope+"}, {"", "modelers+"}}) {
    given = 0;
    FakeHub one(repository_, dying), two(repository_, {}, "127.0.0.2");
    PullOptions o = options({first + one.url(), second + two.url()});
    o.cache = folder_.path() / (std::string(first) + "then" + second);
    const PullResult result = pull(o);
    expect_right(result.folder);
    EXPECT_EQ(result.from.size(), 2u) << messages_;
    EXPECT_LE(one.sent_bytes() + two.sent_bytes(), needed_bytes() + 200'000);
  }
}

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

TEST_F(PullTest, LeftoversOfKilledProcessesAreRemoved) {
  FakeHub hub(repository_);
  const fs::path blobs = folder_.path() / "hub/models--org--model/blobs";
  fs::create_directories(blobs);
  const std::string etag(64, 'e');
  // A process that is gone: a child that has been waited for. Its number is free again.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  const auto write = [&](const std::string& name, const std::string& text) { std::ofstream(blobs / name) << text; };
  const std::string gone = std::to_string(child);
  std::string alive;
  {
    OwnerFile own;
    ASSERT_TRUE(own.claim(blobs / "own"));
    alive = read_text_file(blobs / "own");
  }
  std::string dead = alive;
  dead.replace(dead.find(' ') + 1, std::to_string(::getpid()).size(), gone);
  write(etag + ".updraft.incomplete." + gone, "private copy");
  write(etag + ".updraft.pieces." + gone, "its record");
  write(etag + ".updraft.pieces." + gone + ".owner", dead);
  write(etag + ".updraft.incomplete.aside", "set aside");
  write(etag + ".updraft.pieces.owner", dead);
  write(std::string(64, 'd') + ".updraft.pieces", "a record without its file");
  write(std::string(64, 'c') + ".updraft.incomplete", "to be continued");
  write(std::string(64, 'c') + ".updraft.pieces", "to be continued");
  write(std::string(64, 'b') + ".updraft.incomplete.77", "of a process that lives");
  write(std::string(64, 'b') + ".updraft.pieces.77.owner", alive);
  expect_right(pull(options({hub.url()})).folder);
  std::set<std::string> left;
  for (const auto& entry : fs::directory_iterator(blobs))
    if (const std::string name = entry.path().filename(); name.find(".updraft.") != std::string::npos)
      left.insert(name);
  EXPECT_THAT(left, testing::ElementsAre(std::string(64, 'b') + ".updraft.incomplete.77",
                                         std::string(64, 'b') + ".updraft.pieces.77.owner",
                                         std::string(64, 'c') + ".updraft.incomplete",
                                         std::string(64, 'c') + ".updraft.pieces"));
}

TEST_F(PullTest, AnOwnerWithTheNumberOfAnotherProcessIsDead) {
  OwnerFile own;
  const fs::path path = folder_.path() / "owner";
  ASSERT_TRUE(own.claim(path));
  EXPECT_TRUE(owner_lives(path));
  OwnerFile second;
  EXPECT_FALSE(second.claim(path));
  std::string text = read_text_file(path);  // boot, process, start, namespace: another start is another process
  const size_t start = text.find(' ', text.find(' ') + 1) + 1;
  text.replace(start, text.find(' ', start) - start, "1");
  std::ofstream(path) << text;
  EXPECT_FALSE(owner_lives(path));
  EXPECT_TRUE(second.claim(path));
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

TEST_F(PullTest, InterruptedAndContinued) {
  std::atomic<bool> cancel{false};
  FakeHub hub(repository_);
  hub.bytes_per_s = 4e6;
  PullOptions o = options({hub.url()});
  o.transfer.http.cancel = &cancel;
  o.transfer.progress = [&](const PullProgress& progress) { cancel = cancel || progress.done > 2'000'000; };
  EXPECT_EQ(refusal(o), Refusal::kInterrupted);
  EXPECT_EQ(Cache(o.cache).find("org/model", "main"), std::nullopt);
  cancel = false;
  o.transfer.progress = {};
  const PullResult result = pull(o);
  expect_right(result.folder);
  EXPECT_LT(result.fetched_bytes, needed_bytes() - 1'000'000);
  EXPECT_LE(hub.sent_bytes(), needed_bytes() + 1'000'000);
}

TEST_F(PullTest, KeptBytesAreHashedAgain) {
  std::atomic<bool> cancel{false};
  FakeHub hub(repository_);
  hub.bytes_per_s = 4e6;
  PullOptions o = options({hub.url()});
  o.transfer.http.cancel = &cancel;
  o.transfer.progress = [&](const PullProgress& progress) { cancel = cancel || progress.done > 2'000'000; };
  EXPECT_EQ(refusal(o), Refusal::kInterrupted);
  for (const auto& entry : fs::directory_iterator(folder_.path() / "hub/models--org--model/blobs"))
    if (entry.path().string().ends_with(".incomplete") && fs::file_size(entry.path()) > 1000) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);  // the disk lost something
      file.seekp(100);
      file.put('?');
    }
  o.transfer.progress = {};
  cancel = false;
  hub.bytes_per_s = 0;
  expect_right(pull(o).folder);
  EXPECT_THAT(messages_, HasSubstr("comes again"));
}

TEST_F(PullTest, TwoAtOnceWithLocksAndWithout) {
  for (const bool locks : {true, false}) {
    FakeHub hub(repository_);
    hub.bytes_per_s = 20e6;
    PullOptions o = options({hub.url()});
    o.transfer.message = {};
    o.cache = folder_.path() / (locks ? "locks" : "lies");
    o.transfer.use_locks = locks;
    PullResult a, b;
    std::thread one([&] { a = pull(o); }), two([&] { b = pull(o); });
    one.join();
    two.join();
    expect_right(a.folder);
    expect_right(b.folder);
    if (locks) {
      EXPECT_LE(hub.sent_bytes(), needed_bytes() + 100'000);
    }
  }
}

TEST_F(PullTest, BundlesTravel) {
  FakeHub hub(repository_);
  pull(options({hub.url()}));
  const fs::path tar = folder_.path() / "model.tar";
  write_bundle({folder_.path() / "hub", "org/model", "main", "", tar, nullptr, {}});
  PullOptions o = options({});
  o.cache = folder_.path() / "other";
  const PullResult result = install_bundle(tar, o);
  expect_right(result.folder);
  EXPECT_EQ(result.commit, repository_.commit);
  o.offline = true;
  EXPECT_EQ(pull(o).folder, result.folder);
  o.local_folder = folder_.path() / "unpacked";
  EXPECT_EQ(refusal(o), Refusal::kOffline);
  install_bundle(tar, o);
  EXPECT_EQ(pull(o).folder, *o.local_folder);
  o.local_folder.reset();
  std::string bytes = read_text_file(tar);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(tar, std::ios::binary) << bytes;
  o.cache = folder_.path() / "third";
  EXPECT_THROW(install_bundle(tar, o), HubError);
  std::ofstream(tar, std::ios::binary) << bytes.substr(0, bytes.size() / 3);
  EXPECT_THROW(install_bundle(tar, o), HubError);
}

TEST_F(PullTest, WithoutLinksTheFilesMoveIntoTheSnapshot) {
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.transfer.no_links = true;
  const PullResult result = pull(o);
  expect_right(result.folder);
  EXPECT_FALSE(fs::is_symlink(result.folder / "config.json"));
  EXPECT_EQ(pull(o).fetched_bytes, 0);
}

TEST_F(PullTest, ADiskThatIsFullKeepsWhatIsThere) {
  const fs::path small = folder_.path() / "small";
  fs::create_directories(small);
  if (::geteuid() != 0 || ::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=8m") != 0)
    GTEST_SKIP() << "only root may mount a tmpfs to fill";
  FakeHub hub(repository_);
  PullOptions o = options({hub.url()});
  o.cache = small / "hub";
  Refusal while_writing{}, before{};
  {
    // Another program fills the disk after our check: the check saw room, writing does not.
    o.transfer.progress = [&, filled = false](const PullProgress& progress) mutable {
      if (!filled && progress.done > 500'000)
        std::ofstream(small / "other") << std::string(5 << 20, 'x'), filled = true;
    };
    hub.bytes_per_s = 4e6;
    while_writing = refusal(o);
    o.transfer.progress = {};
    before = refusal(o);  // now the check sees it
    fs::remove(small / "other");
    hub.bytes_per_s = 0;
    EXPECT_EQ(refusal(o), Refusal(0)) << "continues once there is room";
    expect_right(o.cache / "models--org--model/snapshots" / repository_.commit);
  }
  ::umount(small.c_str());
  EXPECT_EQ(while_writing, Refusal::kDisk);
  EXPECT_EQ(before, Refusal::kDisk);
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

TEST(PartRecord, RefusesDamagedRecords) {
  TemporaryFolder folder;
  FilePlace place;
  place.unfinished = folder.path() / "a.incomplete";
  place.pieces = folder.path() / "a.pieces";
  const std::string etag(64, 'e');
  {
    PartFile part(place, etag, 1'000'000, 64 << 10);
    const std::string bytes(200'000, 'b');
    part.write(0, std::as_bytes(std::span(bytes.data(), bytes.size())));
    part.flush();
  }
  const std::string record = read_text_file(place.pieces);
  ASSERT_TRUE(parse_part_record(record));
  EXPECT_EQ(PartFile(place, etag, 1'000'000, 1 << 20).done(), 200'000);
  EXPECT_FALSE(parse_part_record(record.substr(0, record.size() - 1)));
  updraft::test::Random random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = record;
    damaged[size_t(random.next() % damaged.size())] = char(random.next());
    const auto parsed = parse_part_record(damaged);
    if (!parsed) continue;
    for (const PieceRecord& piece : parsed->pieces) EXPECT_LE(piece.written, parsed->piece_bytes);
  }
  // The file lost its end: only what is there counts.
  fs::resize_file(place.unfinished, 70'000);
  EXPECT_EQ(PartFile(place, etag, 1'000'000, 1 << 20).done(), 70'000);
  EXPECT_EQ(PartFile(place, std::string(64, 'f'), 1'000'000, 1 << 20).done(), 0);  // another file
}

}  // namespace
}  // namespace updraft::hub::test
