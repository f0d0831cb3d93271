// Any bytes as a tokenizer.model (sentencepiece's protocol buffer): an Error or a tokenizer, and then a text goes
// through it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/sentencepiece_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace updraft;
  try {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    text::SentencePieceModel model = text::parse_sentencepiece_model(bytes, "fuzz.model");
    model.model_type = 2;  // most inputs would be refused here and never reach the merges
    model.character_map.clear();
    model.remove_extra_whitespaces = false;
    const text::PipelineTokenizer tokenizer(text::sentencepiece_parts(model, "fuzz.model", size % 2 == 0));
    tokenizer.decode(tokenizer.encode("Hello  world's <s> 123 日本\n\xff", {.add_special = true}), false);
  } catch (const Error&) {
  }
  return 0;
}
