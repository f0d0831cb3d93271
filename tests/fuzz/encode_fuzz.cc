// Any bytes as a text and as token ids, for every known pattern and a vocabulary with byte fallback: what is encoded
// comes back (for valid UTF-8, where no normalizer changes it), and a stream gives what decode() gives.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/byte_level.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

using namespace updraft::text;

std::unique_ptr<Tokenizer> byte_level(const std::string& pre) {
  VocabularyData data;
  data.model = "gpt2";
  data.pre = pre;
  for (const std::string& character : byte_level_characters()) data.tokens.push_back(character);
  for (const char* merge : {"Ġ Ġ", "a b", "ab c", "Ġ t", "h e", "Ġt he", "' s", "1 2", "Ċ Ċ", "Ã ©"}) {
    const std::string pair = merge;
    const size_t space = pair.find(' ');
    data.merges.push_back(pair);
    data.tokens.push_back(pair.substr(0, space) + pair.substr(space + 1));
  }
  data.types.assign(data.tokens.size(), 1);
  data.tokens.push_back("<|end|>");
  data.types.push_back(3);
  return make_tokenizer(data);
}

std::unique_ptr<Tokenizer> sentencepiece() {
  VocabularyData data;
  data.model = "llama";
  const auto add = [&](std::string text, float score, int type) {
    data.tokens.push_back(std::move(text));
    data.scores.push_back(score);
    data.types.push_back(type);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  add("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    add(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">", 0, 6);
  }
  float score = 0;
  for (const char* piece : {"▁", "a", "b", "ab", "▁a", "▁ab", "▁▁", "▁▁▁▁", "é", "日本", "t", "h", "e", "he", "▁the"}) {
    add(piece, score -= 1, 1);
  }
  data.unknown_id = 0;
  data.bos_id = 1;
  return make_tokenizer(data);
}

const std::vector<std::unique_ptr<Tokenizer>>& tokenizers() {
  static const auto all = [] {
    std::vector<std::unique_ptr<Tokenizer>> made;
    for (const char* pre : {"gpt-2", "llama-bpe", "tekken", "smollm", "qwen2"}) made.push_back(byte_level(pre));
    made.push_back(sentencepiece());
    return made;
  }();
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (size_t i = 0; i < tokenizers().size(); ++i) {
    const Tokenizer& tokenizer = *tokenizers()[i];
    const std::vector<TokenId> ids = tokenizer.encode(text, {.parse_special = false});
    const bool keeps_text = i < 4;  // qwen2 normalizes, sentencepiece turns U+2581 to spaces
    if (keeps_text) {
      CHECK(tokenizer.decode(ids, false) == replace_invalid_utf8(text)) << "pattern " << i;
    }

    std::vector<TokenId> any;
    for (uint8_t byte : text) any.push_back(TokenId(byte) % (tokenizer.size() + 2) - 1);
    TextStream stream(tokenizer, {.skip_special = false, .stop = {}});
    std::string streamed;
    for (TokenId id : any) {
      streamed += stream.push(id);
      CHECK(is_valid_utf8(streamed));
    }
    streamed += stream.finish();
    CHECK(streamed == tokenizer.decode(any, false));
  }
  return 0;
}
