// Any bytes as a tokenizer.json: an Error or a tokenizer, and then a text goes through it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace updraft;
  try {
    const std::string_view json(reinterpret_cast<const char*>(data), size);
    const text::PipelineTokenizer tokenizer(text::parse_tokenizer_json(json, "fuzz.json"));
    const auto ids = tokenizer.encode("Hello  world's <s> 123 日本\n\xff", {.add_special = true});
    tokenizer.decode(ids, true);
    for (text::TokenId id = -1; id < 40; ++id) tokenizer.token_bytes(id, id % 2 == 0, false);
  } catch (const Error&) {
  }
  return 0;
}
