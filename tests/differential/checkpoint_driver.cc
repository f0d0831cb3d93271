// What the Python oracles of this folder ask of the checkpoint floor and no command of updraft answers.
//
//   checkpoint_driver headers CASES ANSWERS   reads the safetensors files in CASES (each a 32-bit length and the bytes)
//                                             and writes a line of JSON for each: what is in it, or the Error
//   checkpoint_driver folders PLACE GGUF      writes model folders below PLACE: synthetic weights in three types, and
//                                             those of a GGUF file in F32
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"

namespace updraft::checkpoint {
namespace {

nlohmann::json answer(std::string_view file) {
  try {
    nlohmann::json tensors = nlohmann::json::array();
    for (const StoredTensor& tensor : read_safetensors(MemoryAccess(std::as_bytes(std::span(file)), "case")))
      tensors.push_back({tensor.name, tensor.type, tensor.shape, tensor.bytes});
    return tensors;
  } catch (const Error& error) {
    return error.what();
  }
}

void answer_headers(const std::string& cases, const std::string& answers) {
  const std::string all = read_text_file(cases, int64_t(1) << 30);
  std::ofstream out(answers);
  for (size_t at = 0; at + 4 <= all.size();) {
    uint32_t length = 0;
    std::memcpy(&length, all.data() + at, 4);
    const nlohmann::json line = answer(std::string_view(all).substr(at + 4, length));
    out << line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) << "\n";
    at += 4 + size_t(length);
  }
}

void write_folders(const std::filesystem::path& place, const std::string& gguf) {
  const auto tiny = make_synthetic(parse_synthetic("tiny:layers=3"));
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
    write_folder(*tiny, place / name(dtype), dtype, 100000, {});  // several shards
  write_folder(*open_checkpoint(gguf), place / "gguf", DType::kF32, int64_t(1) << 30, {});
}

int run(std::span<char*> arguments) {
  if (arguments.size() != 4) fail("usage: checkpoint_driver headers CASES ANSWERS | folders PLACE GGUF");
  if (const std::string_view what = arguments[1]; what == "headers")
    answer_headers(arguments[2], arguments[3]);
  else if (what == "folders")
    write_folders(arguments[2], arguments[3]);
  else
    fail("checkpoint_driver does not know '{}'", what);
  return 0;
}

}  // namespace
}  // namespace updraft::checkpoint

int main(int argc, char** argv) {
  try {
    return updraft::checkpoint::run({argv, size_t(argc)});
  } catch (const updraft::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
