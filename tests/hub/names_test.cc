#include "hub/names.h"

#include <gtest/gtest.h>

#include <set>

#include "hub/bundle.h"
#include "hub/hub_error.h"
#include "hub/listing.h"
#include "hub/part_file.h"
#include "hub/selection.h"
#include "tests/support/random.h"

namespace updraft::hub {
namespace {

TEST(Names, RepositoryIds) {
  for (const char* good : {"gpt2", "mistralai/Mistral-7B-Instruct-v0.2", "a/b", "A_b/c.d"})
    EXPECT_TRUE(is_repository_id(good)) << good;
  for (const char* bad : {"", "/", "a/", "/a", "a/b/c", "a--b/c", "a..b", "a/b.git", "-a/b", "a/b-", ".a/b", "a b",
                          "../a", "a/..", "a\\b"})
    EXPECT_FALSE(is_repository_id(bad)) << bad;
  EXPECT_FALSE(is_repository_id(std::string(97, 'a')));
}

TEST(Names, PathsStayInTheirFolder) {
  for (const char* good :
       {"config.json", "a/b/c.bin", "..a", "a..b", ".hidden", "\xe4\xb8\xad\xe6\x96\x87.txt", "com.txt", "a/.b/c"})
    EXPECT_TRUE(is_safe_path(good)) << good;
  for (const char* bad :
       {"",         "/etc/passwd", "../x",     "a/../b",      "a/..",     ".",    "./a",     "a//b",   "a/",
        "C:/x",     "C:x",         "a\\..\\b", "\\\\host\\x", "a:stream", "NUL",  "nul.txt", "a/COM1", "lpt9.bin",
        "con .txt", "a.",          "a ",       "a./b",        ".. /x",    "a\nb", "a\x01",   "what?",  "a*"})
    EXPECT_FALSE(is_safe_path(bad)) << bad;
  EXPECT_FALSE(is_safe_path(std::string("a\0b", 3)));
  EXPECT_THROW(check_path("../x", "host"), HubError);
}

TEST(Names, PatternsAreFnmatch) {
  EXPECT_TRUE(matches("*.json", "a/b.json"));
  EXPECT_TRUE(matches("a/*", "a/b/c"));
  EXPECT_TRUE(matches("a/", "a/b/c"));
  EXPECT_TRUE(matches("a\\b*", "a/bc"));
  EXPECT_TRUE(matches("model-0000[1-3]-*", "model-00002-of-3"));
  EXPECT_FALSE(matches("model-0000[!1-3]-*", "model-00002-of-3"));
  EXPECT_TRUE(matches("[]]x", "]x"));
  EXPECT_TRUE(matches("[a", "[a"));
  EXPECT_TRUE(matches("?.bin", "a.bin"));
  EXPECT_FALSE(matches("?.bin", ".bin"));
  EXPECT_FALSE(matches("*.JSON", "a.json"));
  EXPECT_TRUE(matches("**a**b**", "xxaxxbxx"));
}

TEST(Names, QuotingIsReversible) {
  EXPECT_EQ(quote("refs/pr/1", ""), "refs%2Fpr%2F1");
  EXPECT_EQ(quote("a b/\xe4#?.bin"), "a%20b/%E4%23%3F.bin");
  test::Random random(1);
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (uint64_t n = random.next() % 40; n > 0; --n) text += char(random.next());
    EXPECT_EQ(unquote(quote(text)), text);
  }
}

TEST(Headers, Links) {
  EXPECT_EQ(next_link("<https://a/b?c=1>; rel=\"next\""), "https://a/b?c=1");
  EXPECT_EQ(next_link("<https://x>; rel=\"xet-auth\", <https://y>; rel=\"next\""), "https://y");
  EXPECT_EQ(next_link("<https://x>; rel=\"prev\""), "");
  EXPECT_EQ(next_link(""), "");
  EXPECT_EQ(next_link("<"), "");
}

TEST(Headers, ContentRanges) {
  const auto range = parse_content_range("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5);
  EXPECT_EQ(range->last, 9);
  EXPECT_EQ(range->total, 100);
  EXPECT_EQ(parse_content_range("bytes 0-0/*")->total, -1);
  for (const char* bad : {"", "bytes", "bytes 9-5/100", "bytes 5-100/100", "bytes */100", "items 0-1/2", "bytes -1-2/3",
                          "bytes 0-99999999999999999999/1"})
    EXPECT_FALSE(parse_content_range(bad)) << bad;
}

TEST(Headers, Waits) {
  EXPECT_EQ(parse_wait("7", ""), 7.0);
  EXPECT_EQ(parse_wait("", "\"resolvers\";r=0;t=55"), 55.0);
  EXPECT_FALSE(parse_wait("", ""));
  EXPECT_EQ(parse_wait("Thu, 01 Jan 1970 00:00:10 GMT", ""), 0.0);
}

TEST(Listing, RefusesWhatIsNone) {
  std::vector<RemoteFile> files;
  const auto refusal = [&](const char* text) {
    try {
      parse_tree_page(text, "h", files);
      return Refusal::kInterrupted;
    } catch (const HubError& e) {
      return e.refusal();
    }
  };
  EXPECT_EQ(refusal("<html>"), Refusal::kBadListing);
  EXPECT_EQ(refusal("{}"), Refusal::kBadListing);
  EXPECT_EQ(refusal(R"([{"type":"file","path":"a","size":-1,"oid":"x"}])"), Refusal::kBadListing);
  EXPECT_EQ(refusal(R"([{"type":"file","path":"../a","size":1,"oid":"0123456789abcdef0123456789abcdef01234567"}])"),
            Refusal::kUnsafeName);
  EXPECT_EQ(refusal(R"([{"type":"file","path":"a","size":1,"oid":"0123456789abcdef0123456789abcdef01234567"},
                        {"type":"file","path":"a","size":1,"oid":"0123456789abcdef0123456789abcdef01234567"}])"),
            Refusal::kBadListing);
  EXPECT_EQ(refusal((std::string(200, '[') + std::string(200, ']')).c_str()), Refusal::kBadListing);
}

TEST(Listing, ModelScope) {
  const Listing listing = parse_modelscope(
      R"({"Code":200,"Data":{"Files":[{"Type":"tree","Path":"d","Name":"d","Size":0},
         {"Type":"blob","Path":"d/x.bin","Name":"x.bin","Size":3,"Sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}})",
      "h");
  ASSERT_EQ(listing.files.size(), 1u);
  EXPECT_EQ(listing.files[0].path, "d/x.bin");
  EXPECT_TRUE(is_commit(listing.commit));
}

TEST(Listing, TreesRoundTrip) {
  std::vector<RemoteFile> files(2);
  files[0] = {"a", 3, std::string(40, 'a'), "", ""};
  files[1] = {"b/c", 9, std::string(40, 'b'), std::string(64, 'c'), "x"};
  const auto back = parse_trees(write_trees(files));
  ASSERT_TRUE(back);
  ASSERT_EQ(back->size(), 2u);
  EXPECT_EQ((*back)[1].sha256, files[1].sha256);
  EXPECT_EQ((*back)[1].size, 9);
  EXPECT_EQ((*back)[0].etag(), files[0].git_sha1);
}

TEST(Listing, DirectoryPages) {
  const auto names =
      parse_directory_page(R"(<a href="../">up</a><a href="?C=N">s</a><a href="a%20b.json">a</a><a href="./c.bin">c</a>
      <a href="/etc/passwd">x</a><a href="d/">d</a><a href="..%2Fx">x</a><a href="http://h/x">x</a><a href="c.bin">c</a>)");
  EXPECT_EQ(names, (std::vector<std::string>{"a b.json", "c.bin", "d/"}));
}

TEST(Selection, SafetensorsOverBin) {
  Listing listing;
  for (const char* path : {"config.json", "tokenizer.json", "model-1.safetensors", "model.safetensors.index.json",
                           "pytorch_model-1.bin", "consolidated.safetensors", "README.md", "original/x.pth",
                           "onnx/model.onnx", "x.gguf", "additional_chat_templates/tool.jinja"})
    listing.files.push_back({path, 1, std::string(40, 'a'), "", ""});
  const auto names = [](const Selection& s) {
    std::set<std::string> out;
    for (const auto& file : s.files) out.insert(file.path);
    return out;
  };
  EXPECT_EQ(names(select(listing, {}, {})),
            (std::set<std::string>{"config.json", "tokenizer.json", "model-1.safetensors",
                                   "model.safetensors.index.json", "additional_chat_templates/tool.jinja"}));
  EXPECT_EQ(names(select(listing, {"*.bin"}, {})), std::set<std::string>{"pytorch_model-1.bin"});
  EXPECT_THROW(select(listing, {"*"}, {"*"}), HubError);
}

TEST(Tar, HeadersRoundTrip) {
  const auto header = parse_tar_header(make_tar_header({"a/b.bin", 1234567, '0'}));
  ASSERT_TRUE(header);
  EXPECT_EQ(header->name, "a/b.bin");
  EXPECT_EQ(header->size, 1234567);
  const std::string large = make_tar_header({std::string(150, 'n'), int64_t(20) << 30, '0'});
  EXPECT_EQ(large.size(), 3 * 512u);
  EXPECT_EQ(pax_value(std::string_view(large).substr(512, 512), "size"), std::to_string(int64_t(20) << 30));
  EXPECT_EQ(pax_value(std::string_view(large).substr(512, 512), "path"), std::string(150, 'n'));
  std::string broken = make_tar_header({"a", 1, '0'});
  broken[0] = 'b';
  EXPECT_FALSE(parse_tar_header(broken));
}

}  // namespace
}  // namespace updraft::hub
