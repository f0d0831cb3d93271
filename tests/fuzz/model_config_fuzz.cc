// Any text is a config.json, a generation_config.json, a shard index, or an Error; a config that was read can be
// written and read again.
#include "base/check.h"
#include "base/error.h"
#include "checkpoint/generation_config.h"
#include "checkpoint/model_config.h"
#include "checkpoint/strict_json.h"
#include "checkpoint/weight_files.h"

using namespace updraft;
using namespace updraft::checkpoint;

namespace {

template <class Action>
bool succeeds(Action&& action) {
  try {
    action();
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  succeeds([&] { parse_weight_index(text, "index.json"); });
  succeeds([&] { parse_generation_config(parse_json(text, "g.json"), "g.json"); });
  ModelConfig config;
  if (!succeeds([&] { config = parse_model_config(parse_json(text, "config.json"), "config.json"); })) return 0;
  CHECK(config.parameters() > 0) << text;
  const nlohmann::json written = to_json(config, DType::kBF16);
  CHECK(succeeds([&] { parse_model_config(written, "written"); })) << written.dump();
  return 0;
}
