// Whole pulls: where files come to lie, and from which kinds of sources.
#include "hub/bundle.h"
#include "hub/models.h"
#include "tests/hub/pull_fixture.h"

namespace updraft::hub::test {
namespace {

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

}  // namespace
}  // namespace updraft::hub::test
