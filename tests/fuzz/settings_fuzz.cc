// The small JSON files of a model's folder beside its vocabulary, a request's settings, and the file of tuned settings:
// any of them is read or refused. The first byte chooses the reader.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/strict_json.h"
#include "session/request_settings.h"
#include "session/tuning.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace {

using namespace updraft;
namespace fs = std::filesystem;

void write(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = fs::temp_directory_path() / "updraft-settings-fuzz-XXXXXX";
    CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
    write(path_ / "tokenizer.json",
          R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

const fs::path& folder() {
  static const TemporaryFolder made;
  return made.path();
}

void read_folder(std::string_view config, std::string_view special, std::string_view added) {
  write(folder() / "tokenizer_config.json", config);
  write(folder() / "special_tokens_map.json", special);
  write(folder() / "added_tokens.json", added);
  try {
    text::load_chat_settings(folder());
  } catch (const Error&) {
  }
  const auto tokenizer = text::load_tokenizer(folder());
  const auto ids = tokenizer->encode("ab <s> ba", {.add_special = true});
  tokenizer->decode(ids, true);
}

void read_tuning_file(std::string_view text) {
  const session::TunedFor what{"1", "processor", "avx2", 4, "shape"};
  write(session::tuning_path(folder(), what), text);
  const auto tuning = session::read_tuning(folder(), what);
  CHECK(!tuning || tuning->decode_threads <= what.threads);
  session::tuned_shapes(folder());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (uint8_t(data[0] - '0') % 5) {
      case 0:
        read_folder(text, "{}", "{}");
        break;
      case 1:
        read_folder(R"({"add_bos_token": true})", text, "{}");
        break;
      case 2:
        read_folder("{}", "{}", text);
        break;
      case 3:
        read_tuning_file(text);
        break;
      default: {
        session::TextRequest request;
        session::apply_settings(checkpoint::parse_or_discard(text), request);
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
