#include "base/new_file.h"

#include <gmock/gmock.h>

#include "base/file.h"
#include "tests/support/error_text.h"
#include "tests/support/temporary_folder.h"

namespace updraft {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class NewFileTest : public testing::Test {
 protected:
  size_t files() const {
    return size_t(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()));
  }
  const test::TemporaryFolder folder_;
  const fs::path path_ = folder_.path() / "out.bin";
};

TEST_F(NewFileTest, AppearsWhenItIsWhole) {
  write_text_file(path_, "old");
  {
    NewFile file(path_);
    file.write("new and longer");
    EXPECT_EQ(read_text_file(path_), "old");
    file.finish();
  }
  EXPECT_EQ(read_text_file(path_), "new and longer");
  EXPECT_EQ(files(), 1u);
}

TEST_F(NewFileTest, UnfinishedItLeavesWhatWasThere) {
  write_text_file(path_, "old");
  { NewFile(path_).write("half"); }
  EXPECT_EQ(read_text_file(path_), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(NewFileTest, FollowsLinks) {
  fs::create_directory(folder_.path() / "other");
  fs::create_symlink("other/target", path_);
  write_text_file(path_, "one");  // nothing is there yet
  write_text_file(path_, "two");
  EXPECT_TRUE(fs::is_symlink(path_));
  EXPECT_EQ(read_text_file(folder_.path() / "other" / "target"), "two");
}

TEST_F(NewFileTest, WritesIntoWhatIsNoRegularFile) {
  write_text_file("/dev/null", "nothing");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(NewFileTest, NamesWhatCannotBeWritten) {
  EXPECT_THAT(test::error_text([&] { NewFile{folder_.path()}; }), HasSubstr(folder_.path().string()));
  EXPECT_THAT(test::error_text([] { NewFile{"/no/such/folder/x"}; }),
              HasSubstr("/no/such/folder/x: cannot be written"));
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  EXPECT_THAT(test::error_text([] { write_text_file("/dev/full", "x"); }), HasSubstr("No space left"));
}

}  // namespace
}  // namespace updraft
