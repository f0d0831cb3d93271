// Tokens per second of Tokenizer::encode on one core, for one vocabulary and one text file:
//   tokenizer_benchmark MODEL TEXT [--lines]
// MODEL is a folder, a tokenizer.json, a tokenizer.model or a .gguf. --lines encodes the text line by line. Prints one
// line of JSON. benchmarks/bench_tokenizer.py times the PyPI package `tokenizers` beside it in one run.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "text/tokenizer.h"

namespace updraft {
namespace {

std::unique_ptr<text::Tokenizer> open(const std::string& path) {
  if (!path.ends_with(".gguf")) return text::load_tokenizer(path);
  const auto checkpoint = checkpoint::open_checkpoint(path);
  const checkpoint::EmbeddedVocabulary* v = checkpoint->vocabulary();
  if (v == nullptr) fail("{} has no vocabulary.", path);
  return text::make_tokenizer({v->model, v->pre, v->tokens, v->scores, v->types, v->merges, v->bos_id, v->eos_id,
                               v->unknown_id, v->padding_id, v->add_bos, v->add_eos, v->add_space_prefix});
}

std::vector<std::string> read_texts(const std::string& path, bool lines) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> texts;
  if (lines) {
    for (std::string line; std::getline(file, line);) texts.push_back(line);
  } else {
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return texts;
}

void run(const std::string& model, const std::string& path, bool lines) {
  using Clock = std::chrono::steady_clock;
  const auto tokenizer = open(model);
  const std::vector<std::string> texts = read_texts(path, lines);
  std::vector<double> seconds;
  size_t tokens = 0, bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  for (int pass = 0; pass < 9; ++pass) {
    tokens = 0;
    const auto start = Clock::now();
    for (const std::string& text : texts) tokens += tokenizer->encode(text).size();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  const double first = seconds[0];
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  fmt::print(
      R"({{"tokens": {}, "bytes": {}, "tokens_per_second": {:.0f}, "first_pass_tokens_per_second": {:.0f}, "median_s": {:.6f}}})"
      "\n",
      tokens, bytes, double(tokens) / median, double(tokens) / first, median);
}

}  // namespace
}  // namespace updraft

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: tokenizer_benchmark MODEL TEXT [--lines]\n");
    return 2;
  }
  try {
    updraft::run(argv[1], argv[2], argc > 3 && std::string(argv[3]) == "--lines");
  } catch (const updraft::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
