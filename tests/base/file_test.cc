#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>

#include "base/error.h"

namespace updraft {
namespace {

class FileTest : public testing::Test {
 protected:
  FileTest() : folder_(testing::TempDir() + "file_test_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~FileTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  static std::string error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  const std::filesystem::path folder_;
};

TEST_F(FileTest, ReadsAnyRange) {
  const File file(write("a.bin", "0123456789"));
  EXPECT_EQ(file.size(), 10);
  EXPECT_EQ(file.name(), "a.bin");
  for (int64_t begin = 0; begin <= 10; ++begin) {
    for (int64_t end = begin; end <= 10; ++end) {
      std::string text(size_t(end - begin), '?');
      file.read_at(begin, text.data(), end - begin);
      EXPECT_EQ(text, std::string("0123456789").substr(size_t(begin), size_t(end - begin)));
    }
  }
  file.advise_sequential();
  file.will_not_need(0, 10);
  file.will_not_need(-1, 10);
  file.will_not_need(0, 0);
}

TEST_F(FileTest, RangesOutsideTheFileAreErrorsThatNameIt) {
  const File file(write("a.bin", "0123456789"));
  char buffer[16];
  for (const auto& [offset, bytes] : {std::pair<int64_t, int64_t>{0, 11}, {10, 1}, {11, 0}, {-1, 1}, {INT64_MAX, 1}}) {
    EXPECT_NE(error_of([&, at = offset, count = bytes] { file.read_at(at, buffer, count); }).find("a.bin"),
              std::string::npos)
        << offset << " " << bytes;
  }
}

TEST_F(FileTest, ShrunkFileIsAnError) {
  const auto path = write("a.bin", "0123456789");
  const File file(path);
  std::filesystem::resize_file(path, 4);
  char buffer[10];
  EXPECT_NE(error_of([&] { file.read_at(0, buffer, 10); }).find("shortened"), std::string::npos);
}

// Whether this system can say that a range is in the page cache; qemu-user cannot.
bool tells_what_is_cached(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char byte;
  const iovec to{&byte, 1};
  const bool tells = ::preadv2(descriptor, &to, 1, 0, RWF_NOWAIT) == 1;
  ::close(descriptor);
  return tells;
}

TEST_F(FileTest, AViewIsTheBytesOfTheRange) {
  std::string text(size_t(3) << 20, ' ');
  for (size_t i = 0; i < text.size(); ++i) text[i] = char(i * 2654435761u >> 13);
  const auto path = write("a.bin", text);
  const int64_t size = int64_t(text.size());
  if (!tells_what_is_cached(path)) GTEST_SKIP() << "no preadv2 with RWF_NOWAIT here";
  for (const bool dropping : {false, true}) {
    File file(path);
    if (dropping) file.drop_pages_behind();
    for (const auto& [offset, bytes] : {std::pair<int64_t, int64_t>{0, size}, {1, 1}, {4095, 2}, {12345, 2'000'000}}) {
      const auto view = file.view(offset, bytes);
      ASSERT_TRUE(view) << offset << " " << bytes;
      EXPECT_EQ(std::memcmp(view.get(), text.data() + offset, size_t(bytes)), 0) << offset << " " << bytes;
    }
    EXPECT_EQ(file.view(7, 0), nullptr);
    EXPECT_NE(error_of([&] { file.view(size - 1, 2); }).find("a.bin"), std::string::npos);
    EXPECT_NE(error_of([&] { file.view(-1, 2); }).find("a.bin"), std::string::npos);
  }
}

TEST_F(FileTest, OfAFileThatShrankThereIsNoView) {
  const auto path = write("a.bin", std::string(100'000, 'a'));
  const File file(path);
  std::filesystem::resize_file(path, 50'000);
  EXPECT_EQ(file.view(0, 100'000), nullptr);  // read_at says why
}

TEST_F(FileTest, OnlyRegularFilesOpen) {
  EXPECT_NE(error_of([&] { File file(folder_ / "absent.bin"); }).find("absent.bin"), std::string::npos);
  EXPECT_NE(error_of([&] { File file{folder_}; }).find("not a regular file"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { File file(folder_ / "pipe"); }).find("not a regular file"), std::string::npos);
}

TEST_F(FileTest, SmallFileAsText) {
  EXPECT_EQ(read_text_file(write("a.json", "{\"a\": 1}\n")), "{\"a\": 1}\n");
  EXPECT_EQ(read_text_file(write("empty", "")), "");
  EXPECT_NE(error_of([&] { read_text_file(write("big", "12345"), 4); }).find("more than the 4"), std::string::npos);
}

}  // namespace
}  // namespace updraft
