#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/support/error_text.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

using testing::HasSubstr;

std::string length_bytes(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += char(length >> (8 * i));
  return bytes;
}

std::string file_of(const std::string& header, size_t data_bytes) {
  return length_bytes(header.size()) + header + std::string(data_bytes, '\x5a');
}

std::vector<StoredTensor> read(std::string_view bytes) {
  return read_safetensors(MemoryAccess(std::as_bytes(std::span(bytes)), "model.safetensors"));
}

std::string error_of(std::string_view bytes) {
  return test::error_text([&] { read(bytes); });
}

std::string error_of_header(const std::string& header, size_t data_bytes) {
  return error_of(file_of(header, data_bytes));
}

std::string entry(const std::string& name, const std::string& type, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheData) {
  const std::string header =
      "{" + entry("b", "F32", "[2,3]", "[6,30]") + "," + entry("a", "BF16", "[3]", "[0,6]") + "}";
  const auto tensors = read(file_of(header, 30));
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].type, "BF16");
  EXPECT_EQ(tensors[0].begin, int64_t(8 + header.size()));  // not aligned: readers must not need it
  EXPECT_EQ(tensors[1].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tensors[1].begin, tensors[0].begin + 6);
  EXPECT_EQ(tensors[1].bytes, 24);
}

TEST(Safetensors, WhiteSpaceAroundTheHeaderIsPadding) {
  EXPECT_EQ(read(file_of("  \n{" + entry("a", "U8", "[1]", "[0,1]") + "}   ", 1)).size(), 1u);
  EXPECT_EQ(read(file_of("{}", 0)).size(), 0u);
}

TEST(Safetensors, ZeroSizedAndRankZeroTensors) {
  const std::string header =
      "{" + entry("scalar", "F16", "[]", "[0,2]") + "," + entry("none", "F32", "[2,0]", "[2,2]") + "}";
  const auto tensors = read(file_of(header, 2));
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "scalar");
  EXPECT_TRUE(tensors[0].shape.empty());
  EXPECT_EQ(tensors[1].bytes, 0);
}

TEST(Safetensors, EveryTypeOfTheFormatIsListed) {
  const std::pair<const char*, int> types[] = {{"BOOL", 8},  {"F4", 4},   {"F6_E2M3", 6}, {"F8_E4M3", 8}, {"I16", 16},
                                               {"BF16", 16}, {"U32", 32}, {"C64", 64},    {"F64", 64},    {"U64", 64}};
  for (const auto& [type, bits] : types) {
    const int bytes = 8 * bits / 8;
    const auto tensors =
        read(file_of("{" + entry("a", type, "[8]", fmt::format("[0,{}]", bytes)) + "}", size_t(bytes)));
    EXPECT_EQ(tensors[0].type, type);
    EXPECT_EQ(tensors[0].bytes, bytes);
  }
  EXPECT_THAT(error_of_header("{" + entry("a", "F4", "[3]", "[0,1]") + "}", 1), HasSubstr("do not fill whole bytes"));
  EXPECT_THAT(error_of_header("{" + entry("a", "F17", "[1]", "[0,2]") + "}", 2), HasSubstr("unknown dtype \"F17\""));
}

TEST(Safetensors, HeaderLengthIsChecked) {
  EXPECT_THAT(error_of(""), HasSubstr("too few"));
  EXPECT_THAT(error_of("1234567"), HasSubstr("too few"));
  EXPECT_THAT(error_of(length_bytes(100'000'001) + "{}"), HasSubstr("100000001"));
  EXPECT_THAT(error_of(length_bytes(~0ull) + "{}"), HasSubstr("18446744073709551615"));
  EXPECT_THAT(error_of(length_bytes(3) + "{}"), HasSubstr("cut off"));
}

TEST(Safetensors, HeaderMustBeJsonInUtf8) {
  EXPECT_THAT(error_of_header("", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of_header("{", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of_header("{} x", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of_header(std::string("{}\0", 3), 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of_header("{\"\xff\xfe\": 1}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of_header("[]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of_header(std::string(100'000, '['), 0), HasSubstr("nests deeper"));
  EXPECT_THAT(error_of_header(std::string(1'000, '{'), 0), HasSubstr("not valid JSON"));
}

TEST(Safetensors, MetadataIsAMapOfStrings) {
  EXPECT_EQ(read(file_of(R"({"__metadata__":{"format":"pt"}})", 0)).size(), 0u);
  EXPECT_THAT(error_of_header(R"({"__metadata__":{"format":1}})", 0), HasSubstr("__metadata__"));
  EXPECT_THAT(error_of_header(R"({"__metadata__":[]})", 0), HasSubstr("__metadata__"));
}

TEST(Safetensors, DuplicateNamesAreRefused) {
  const std::string twice = entry("a", "U8", "[1]", "[0,1]");
  EXPECT_THAT(error_of_header("{" + twice + "," + twice + "}", 1), HasSubstr("\"a\" appears twice"));
  EXPECT_THAT(error_of_header(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
              HasSubstr("\"dtype\" appears twice"));
}

// Ten names for one range: the file would be read into ten times its size.
TEST(Safetensors, TensorsMayNotShareBytes) {
  std::string header = "{";
  for (int i = 0; i < 10; ++i) header += (i ? "," : "") + entry(fmt::format("weight_{}", i), "F32", "[2,2]", "[0,16]");
  EXPECT_THAT(error_of_header(header + "}", 16), HasSubstr("overlap"));
}

TEST(Safetensors, TensorsLeaveNoHole) {
  const std::string a = entry("a", "U8", "[2]", "[0,2]");
  EXPECT_THAT(error_of_header("{" + a + "," + entry("b", "U8", "[2]", "[3,5]") + "}", 5), HasSubstr("hole"));
  EXPECT_THAT(error_of_header("{" + a + "," + entry("b", "U8", "[2]", "[1,3]") + "}", 3), HasSubstr("overlap"));
  EXPECT_THAT(error_of_header("{" + entry("a", "U8", "[2]", "[1,3]") + "}", 3), HasSubstr("hole"));
}

TEST(Safetensors, IncompleteOrLeftOverDataIsRefused) {
  const std::string header = "{" + entry("model.norm.weight", "F32", "[4]", "[0,16]") + "}";
  EXPECT_EQ(error_of_header(header, 16), "");
  EXPECT_THAT(error_of_header(header, 15),
              testing::AllOf(HasSubstr("cut off"), HasSubstr("model.norm.weight"), HasSubstr("model.safetensors")));
  EXPECT_THAT(error_of_header(header, 17), HasSubstr("1 bytes after its last tensor"));
}

TEST(Safetensors, ShapesMayNotOverflow) {
  const std::string huge = "[2305843009213693952,8]";  // 2^64 elements
  EXPECT_THAT(error_of_header("{" + entry("a", "U8", huge, "[0,0]") + "}", 0), HasSubstr("too large"));
  EXPECT_THAT(error_of_header("{" + entry("a", "F64", "[2305843009213693951]", "[0,0]") + "}", 0),
              HasSubstr("too large"));
  EXPECT_THAT(error_of_header("{" + entry("a", "U8", "[9223372036854775808]", "[0,0]") + "}", 0),
              HasSubstr("list of sizes"));
  EXPECT_THAT(error_of_header("{" + entry("a", "U8", "[1e400]", "[0,0]") + "}", 0), HasSubstr("not valid JSON"));
  const std::string end = "[0,9223372036854775807]";
  EXPECT_THAT(error_of_header("{" + entry("a", "U8", "[9223372036854775807]", end) + "}", 0), HasSubstr("too large"));
}

TEST(Safetensors, EntriesAreChecked) {
  const auto wrong = [](const std::string& text) { return error_of_header("{\"a\":" + text + "}", 4); };
  EXPECT_THAT(wrong("3"), HasSubstr("not an object"));
  EXPECT_THAT(wrong("{}"), HasSubstr("no dtype"));
  EXPECT_THAT(wrong(R"({"dtype":1})"), HasSubstr("no dtype"));
  EXPECT_THAT(wrong(R"({"dtype":"F32"})"), HasSubstr("shape"));
  EXPECT_THAT(wrong(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), HasSubstr("shape"));
  EXPECT_THAT(wrong(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), HasSubstr("shape"));
  EXPECT_THAT(wrong(R"({"dtype":"F32","shape":[1]})"), HasSubstr("data_offsets"));
  EXPECT_THAT(wrong(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), HasSubstr("data_offsets"));
  EXPECT_THAT(wrong(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), HasSubstr("before it begins"));
  EXPECT_THAT(wrong(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), HasSubstr("needs 8 bytes"));
}

std::string small_file() {
  return file_of("{" + entry("a", "F32", "[2,3]", "[0,24]") + "," + entry("b", "BF16", "[5]", "[24,34]") +
                     R"(,"__metadata__":{"format":"pt"}})",
                 34);
}

TEST(Safetensors, TruncationAtEveryByteIsAnError) {
  const std::string whole = small_file();
  ASSERT_EQ(error_of(whole), "");
  for (size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_THAT(error_of(std::string_view(whole).substr(0, bytes)), HasSubstr("model.safetensors")) << bytes;
}

TEST(Safetensors, DamagedFilesAreReadOrRefusedButNeverReachOutside) {
  std::mt19937 random(test::run_seed());
  const std::string whole = small_file();
  int refused = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string bytes = whole;
    for (unsigned i = 0; i <= random() % 4; ++i) {
      const size_t at = random() % bytes.size();
      if (random() % 8 == 0) {
        bytes.erase(at, 1 + random() % 3);
      } else {
        bytes[at] = random() % 2 ? char(random()) : "0123456789[]{}\",:"[random() % 17];
      }
      if (bytes.empty()) bytes = "x";
    }
    refused += !test::error_text([&] {
                  for (const StoredTensor& tensor : read(bytes)) {
                    EXPECT_LE(8, tensor.begin);
                    EXPECT_LE(tensor.begin + tensor.bytes, int64_t(bytes.size()));
                  }
                }).empty();
  }
  EXPECT_GT(refused, 10'000);
}

}  // namespace
}  // namespace updraft::checkpoint
