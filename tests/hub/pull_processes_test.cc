// Pulls that are stopped, killed, two at once, or short of disk: nothing is lost, and the next one goes on.
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "hub/part_file.h"
#include "tests/hub/pull_fixture.h"
#include "tests/support/random.h"

namespace updraft::hub::test {
namespace {

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

class InterruptedPullTest : public PullTest {
 protected:
  InterruptedPullTest() {
    hub_.bytes_per_s = 4e6;
    PullOptions stopping = o_;
    std::atomic<bool> cancel{false};
    stopping.transfer.http.cancel = &cancel;
    stopping.transfer.progress = [&](const PullProgress& progress) { cancel = cancel || progress.done > 2'000'000; };
    EXPECT_EQ(refusal(stopping), Refusal::kInterrupted);
  }

  FakeHub hub_{repository_};
  const PullOptions o_ = options({hub_.url()});
};

TEST_F(InterruptedPullTest, IsContinued) {
  EXPECT_EQ(Cache(o_.cache).find("org/model", "main"), std::nullopt);
  const PullResult result = pull(o_);
  expect_right(result.folder);
  EXPECT_LT(result.fetched_bytes, needed_bytes() - 1'000'000);
  EXPECT_LE(hub_.sent_bytes(), needed_bytes() + 1'000'000);
}

TEST_F(InterruptedPullTest, KeptBytesAreHashedAgain) {
  for (const auto& entry : fs::directory_iterator(folder_.path() / "hub/models--org--model/blobs"))
    if (entry.path().string().ends_with(".incomplete") && fs::file_size(entry.path()) > 1000) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);  // the disk lost something
      file.seekp(100);
      file.put('?');
    }
  hub_.bytes_per_s = 0;
  expect_right(pull(o_).folder);
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
