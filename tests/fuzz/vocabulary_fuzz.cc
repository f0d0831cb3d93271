// Any vocabulary of a GGUF file: an Error or a tokenizer, which encodes and decodes any text, and a tokenizer.json of
// it that is read back. The input's first bytes choose the model and the ends, its first line is the text, each further
// line is a token with its type and score or a merge.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/pipeline_tokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace {

using namespace updraft;

std::string_view take_line(std::string_view& rest) {
  const size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return line;
}

void use(const text::Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {false, true})
    tokenizer.decode(tokenizer.encode(text, {.add_special = special, .parse_special = special}), special);
  for (text::TokenId id = -1; id <= tokenizer.size(); ++id) tokenizer.token_bytes(id, id % 2 == 0, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  constexpr std::array kPre = {"gpt-2", "llama-bpe", "qwen2", "tekken", "smollm", "other"};
  constexpr size_t kHead = 6;
  if (size < kHead) return 0;
  text::VocabularyData data;
  data.model = bytes[0] % 2 == 0 ? "gpt2" : "llama";
  data.pre = kPre[bytes[1] % kPre.size()];
  data.bos_id = int8_t(bytes[2]), data.eos_id = int8_t(bytes[3]), data.unknown_id = int8_t(bytes[4]);
  if (bytes[5] & 1) data.add_bos = bytes[5] & 2;
  if (bytes[5] & 4) data.add_eos = bytes[5] & 8;
  if (bytes[5] & 16) data.add_space_prefix = bytes[5] & 32;
  std::string_view rest(reinterpret_cast<const char*>(bytes) + kHead, size - kHead);
  const std::string_view text = take_line(rest);
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    if (line.starts_with('+')) {
      data.merges.emplace_back(line.substr(1));
    } else if (line.size() >= 2) {
      data.types.push_back(line[0] - '0');
      data.scores.push_back(float(line[1]));
      data.tokens.emplace_back(line.substr(2));
    }
  }
  try {
    use(*text::make_tokenizer(data), text);
    use(text::PipelineTokenizer(text::parse_tokenizer_json(text::to_tokenizer_json(data), "written.json")), text);
  } catch (const Error&) {
  }
  return 0;
}
