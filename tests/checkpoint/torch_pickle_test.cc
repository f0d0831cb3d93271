#include "checkpoint/torch_pickle.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/checkpoint/torch_file_builder.h"
#include "tests/support/error_text.h"
#include "tests/support/random.h"

namespace updraft::checkpoint {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::vector<StoredTensor> read(std::string_view bytes) {
  return read_torch_file(MemoryAccess(std::as_bytes(std::span(bytes)), "pytorch_model.bin"));
}

std::string error_of(std::string_view bytes) {
  return test::error_text([&] { read(bytes); });
}

// A file with one storage of 24 bytes, "0", and the given pickle.
std::string file_of_pickle(const std::string& pickle, ZipOptions options = {}) {
  return zip_of({{"archive/data.pkl", pickle},
                 {"archive/byteorder", "little"},
                 {"archive/data/0", "0123456789abcdefghijklmn"},
                 {"archive/version", "3\n"}},
                options);
}

std::string file_of_tensor(const std::string& value) { return file_of_pickle(pickled::state_dict({{"w", value}})); }

std::string f32(int64_t elements = 6) { return pickled::storage("FloatStorage", "0", elements); }

TEST(TorchPickle, ReadsTensorsAndViewsOfOneStorage) {
  const std::string pickle =
      pickled::state_dict({{"w", pickled::tensor(f32(), 0, {2, 3}, {3, 1})},
                           {"view", pickled::tensor(f32(), 2, {4}, {1})},
                           {"half", pickled::tensor(pickled::storage("BFloat16Storage", "0", 12), 1, {1, 2}, {7, 1})},
                           {"scalar", pickled::tensor(f32(), 5, {}, {})},
                           {"empty", pickled::tensor(f32(), 6, {0, 3}, {3, 1})},
                           {"steps", pickled::integer(7)}});
  for (const bool zip64 : {false, true}) {
    const std::string bytes = file_of_pickle(pickle, {zip64});
    const auto tensors = read(bytes);
    ASSERT_EQ(tensors.size(), 5u);
    EXPECT_EQ(tensors[0].name, "w");
    EXPECT_EQ(tensors[0].type, "F32");
    EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(bytes.substr(size_t(tensors[0].begin), size_t(tensors[0].bytes)), "0123456789abcdefghijklmn");
    EXPECT_EQ(bytes.substr(size_t(tensors[1].begin), size_t(tensors[1].bytes)), "89abcdefghijklmn");
    EXPECT_EQ(tensors[2].type, "BF16");
    EXPECT_EQ(bytes.substr(size_t(tensors[2].begin), size_t(tensors[2].bytes)), "2345");
    EXPECT_EQ(tensors[2].row_stride, 0);
    EXPECT_EQ(bytes.substr(size_t(tensors[3].begin), size_t(tensors[3].bytes)), "klmn");
    EXPECT_EQ(tensors[4].bytes, 0);
  }
}

TEST(TorchPickle, RowsCutFromAWiderMatrixAreGathered) {
  const std::string bytes = file_of_tensor(pickled::tensor(f32(), 1, {2, 2}, {3, 1}));
  const auto tensors = read(bytes);
  EXPECT_EQ(tensors[0].row_stride, 3);
  const auto file = std::make_shared<MemoryAccess>(std::as_bytes(std::span(bytes)), "x.bin");
  std::string rows(16, '?');
  make_file_rows(file, tensors[0], DType::kF32, 2, 2)->read_rows(0, 2, rows.data());
  EXPECT_EQ(rows, "456789abghijklmn");
  make_file_rows(file, tensors[0], DType::kF32, 2, 2)->read_rows(1, 2, rows.data());
  EXPECT_EQ(rows.substr(0, 8), "ghijklmn");
}

TEST(TorchPickle, ParametersAndUntypedStorages) {
  const std::string plain = pickled::tensor(f32(), 0, {6}, {1});
  const std::string parameter = pickled::global("torch._utils", "_rebuild_parameter") + "(" + plain + "\x88" +
                                pickled::global("collections", "OrderedDict") + ")RtR";
  EXPECT_EQ(read(file_of_tensor(parameter))[0].bytes, 24);
  const std::string untyped = "(" + pickled::text("storage") + pickled::global("torch.storage", "UntypedStorage") +
                              pickled::text("0") + pickled::text("cuda:0") + pickled::integer(24) + "tQ";
  const std::string v3 = pickled::global("torch._utils", "_rebuild_tensor_v3") + "(" + untyped + pickled::integer(0) +
                         pickled::tuple({12}) + pickled::tuple({1}) + "\x89" +
                         pickled::global("collections", "OrderedDict") + ")R" + pickled::global("torch", "bfloat16") +
                         "tR";
  EXPECT_EQ(read(file_of_tensor(v3))[0].type, "BF16");
  EXPECT_EQ(read(file_of_tensor(v3))[0].bytes, 24);
}

TEST(TorchPickle, NothingIsExecuted) {
  const std::string system = pickled::global("os", "system") + "(" + pickled::text("touch /tmp/owned") + "tR";
  EXPECT_THAT(error_of(file_of_tensor(system)), AllOf(HasSubstr("os.system"), HasSubstr("never executed")));
  EXPECT_THAT(error_of(file_of_pickle(std::string("\x80\x02", 2) + system + ".")), HasSubstr("os.system"));
  const std::string built = pickled::global("builtins", "eval") + "(" + pickled::text("1") + "t\x81";
  EXPECT_THAT(error_of(file_of_tensor(built)), HasSubstr("builtins.eval"));
  // The storage's type and the parameter's tensor are names to be looked up as well.
  EXPECT_THAT(error_of(file_of_tensor(pickled::tensor(pickled::storage("QUInt8Storage", "0", 1), 0, {1}, {1}))),
              HasSubstr("torch.QUInt8Storage"));
  // STACK_GLOBAL, INST, OBJ, EXT1, protocol 4: PyTorch's own safe reader refuses them too.
  for (const char instruction : {'\x93', 'i', 'o', '\x82', '\x95', 'P', 'I', 'S'})
    EXPECT_THAT(error_of(file_of_pickle(std::string("\x80\x02", 2) + instruction)), HasSubstr("instruction 0x"))
        << int(instruction);
  EXPECT_THAT(error_of(file_of_pickle(std::string("\x80\x04.", 3))), HasSubstr("protocol"));
}

TEST(TorchPickle, TensorsStayInsideTheirStorage) {
  const auto error = [](const std::string& value) { return error_of(file_of_tensor(value)); };
  EXPECT_THAT(error(pickled::tensor(f32(), 1, {6}, {1})), AllOf(HasSubstr("\"w\""), HasSubstr("outside its storage")));
  EXPECT_THAT(error(pickled::tensor(f32(), 7, {}, {})), HasSubstr("outside its storage"));
  EXPECT_THAT(error(pickled::tensor(f32(), 7, {0}, {1})), HasSubstr("outside its storage"));
  EXPECT_THAT(error(pickled::tensor(f32(), INT64_MAX, {1}, {1})), HasSubstr("outside its storage"));
  EXPECT_THAT(error(pickled::tensor(f32(), 0, {2, 3}, {4, 1})), HasSubstr("outside its storage"));
  EXPECT_THAT(error(pickled::tensor(f32(), 0, {2, 3}, {INT64_MAX, 1})), HasSubstr("outside its storage"));
  EXPECT_THAT(error(pickled::tensor(f32(), 0, {INT64_MAX, 3}, {3, 1})), HasSubstr("too large"));
  EXPECT_THAT(error(pickled::tensor(f32(), 0, {INT64_MAX / 4, 2}, {2, 1})), HasSubstr("too large"));
  EXPECT_THAT(error(pickled::tensor(f32(), -1, {1}, {1})), HasSubstr("whole number"));
  EXPECT_THAT(error(pickled::tensor(f32(), 0, {-1}, {1})), HasSubstr("whole number"));
  EXPECT_THAT(error(pickled::tensor(f32(7), 0, {6}, {1})), HasSubstr("should have 7 elements"));
  EXPECT_THAT(error(pickled::tensor(pickled::storage("FloatStorage", "1", 6), 0, {6}, {1})),
              HasSubstr("not in the archive"));
}

TEST(TorchPickle, StridedViewsAreRefusedByName) {
  EXPECT_THAT(error_of(file_of_tensor(pickled::tensor(f32(), 0, {3, 2}, {1, 3}))), HasSubstr("transposed"));
  EXPECT_THAT(error_of(file_of_tensor(pickled::tensor(f32(), 0, {2, 3}, {0, 1}))), HasSubstr("strided"));
  EXPECT_THAT(error_of(file_of_tensor(pickled::tensor(f32(), 0, {3}, {2}))), HasSubstr("strided"));
  EXPECT_THAT(error_of(file_of_tensor(pickled::tensor(f32(), 0, {2, 3}, {3}))), HasSubstr("differ in length"));
}

TEST(TorchPickle, ValuesThatAreNoStateDict) {
  const std::string start("\x80\x02", 2);
  EXPECT_THAT(error_of(file_of_pickle(start + "].")), HasSubstr("no state dict"));
  EXPECT_THAT(error_of(file_of_pickle(start + "N.")), HasSubstr("no state dict"));
  EXPECT_THAT(error_of(file_of_pickle(start + "}K\1K\2s.")), HasSubstr("not a string"));
  EXPECT_THAT(error_of(file_of_tensor("}")), HasSubstr("checkpoint of a training"));
  const std::string tensor = pickled::tensor(f32(), 0, {6}, {1});
  EXPECT_THAT(error_of(file_of_pickle(pickled::state_dict({{"w", tensor}, {"w", tensor}}))), HasSubstr("twice"));
  for (const char* damaged : {"", ".", "0.", "s.", "(.", "t.", "u.", "a.", "R.", "Q.", "b.", "q", "h\1.", "}(K\1u.",
                              "K\1K\1R.", "X\xff\xff\xff\xff"})
    EXPECT_THAT(error_of(file_of_pickle(start + damaged)), HasSubstr("pytorch_model.bin")) << damaged;
}

// A million nested lists: nothing may recurse.
TEST(TorchPickle, DeepNestingIsHarmless) {
  const std::string start("\x80\x02", 2);
  EXPECT_THAT(error_of(file_of_pickle(start + std::string(1'000'000, ']') + std::string(999'999, 'a') + ".")),
              HasSubstr("no state dict"));
  std::string parameters;
  for (int i = 0; i < 10'000; ++i) parameters += pickled::global("torch._utils", "_rebuild_parameter") + "(";
  parameters += "N";
  for (int i = 0; i < 10'000; ++i) parameters += "tR";
  EXPECT_THAT(error_of(file_of_tensor(parameters)), HasSubstr("not a tensor"));
}

TEST(TorchPickle, OtherFormatsAreNamed) {
  EXPECT_THAT(error_of("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), HasSubstr("before 1.6"));
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  EXPECT_THAT(error_of(tar), HasSubstr("before 1.6"));
  EXPECT_THAT(error_of(""), HasSubstr("not a file of PyTorch"));
  EXPECT_THAT(error_of("hello"), HasSubstr("not a file of PyTorch"));
}

TEST(TorchPickle, ArchivesAreChecked) {
  const std::string pickle = pickled::state_dict({});
  EXPECT_EQ(error_of(file_of_pickle(pickle)), "");
  EXPECT_THAT(error_of(file_of_pickle(pickle, {false, 8})), HasSubstr("compressed"));
  EXPECT_THAT(error_of(file_of_pickle(pickle, {false, 0, 1})), HasSubstr("encrypted"));
  EXPECT_THAT(error_of(zip_of({{"archive/version", "3"}})), HasSubstr("no data.pkl"));
  EXPECT_THAT(error_of(zip_of({{"a/data.pkl", pickle}, {"a/byteorder", "big"}})), HasSubstr("big-endian"));
  EXPECT_THAT(error_of(zip_of({{"a/data.pkl", pickle}, {"a/data.pkl", pickle}})), HasSubstr("twice"));
  EXPECT_EQ(error_of(zip_of({{"some name/data.pkl", pickle}})), "");
}

std::string small_file(bool zip64) {
  return file_of_pickle(pickled::state_dict({{"w", pickled::tensor(f32(), 0, {2, 3}, {3, 1})}}), {zip64});
}

TEST(TorchPickle, TruncationAtEveryByteIsAnError) {
  for (const bool zip64 : {false, true}) {
    const std::string whole = small_file(zip64);
    ASSERT_EQ(error_of(whole), "");
    for (size_t bytes = 0; bytes < whole.size(); ++bytes)
      EXPECT_THAT(error_of(std::string_view(whole).substr(0, bytes)), HasSubstr("pytorch_model.bin")) << bytes;
  }
}

TEST(TorchPickle, DamagedFilesAreReadOrRefusedButNeverReachOutside) {
  std::mt19937 random(test::run_seed());
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string bytes = small_file(trial % 2 == 0);
    for (unsigned i = 0; i <= random() % 3; ++i)
      bytes[random() % bytes.size()] = char(random() % 4 == 0 ? 0xff : random());
    test::error_text([&] {
      for (const StoredTensor& tensor : read(bytes)) {
        EXPECT_LE(0, tensor.begin);
        EXPECT_LE(tensor.begin + tensor.bytes, int64_t(bytes.size()));
      }
    });
  }
}

}  // namespace
}  // namespace updraft::checkpoint
