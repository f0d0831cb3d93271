#include "measure/run_record.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <set>
#include <vector>

#include "base/caches.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/system_memory.h"
#include "base/thread_team.h"
#include "checkpoint/strict_json.h"

namespace updraft::measure {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

ordered_json build_facts() {
#if defined(__clang__)
  const std::string compiler = fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  const std::string compiler = fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
#if defined(NDEBUG)
  constexpr bool kOptimized = true;
#else
  constexpr bool kOptimized = false;
#endif
  return {{"version", UPDRAFT_VERSION}, {"compiler", compiler}, {"optimized", kOptimized}};
}

ordered_json machine_facts() {
  utsname system{};
  uname(&system);
  return {{"processor", compute::processor_name()},
          {"processors", available_processors()},
          {"last_level_cache_bytes", last_level_cache_bytes()},
          {"memory_bytes", system_memory().total_bytes},
          {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)}};
}

namespace {

// Files that a model's answers depend on. What else lies in its folder (a README, the state of an `eval`) may come and
// go.
bool makes_the_model(const fs::path& path) {
  static const std::set<std::string> kNames = {
      "config.json",     "generation_config.json", "quantize_config.json",    "quant_config.json", "tokenizer.json",
      "tokenizer.model", "tokenizer_config.json",  "special_tokens_map.json", "added_tokens.json", "vocab.json",
      "merges.txt",      "chat_template.json"};
  const std::string name = path.filename();
  if (name.starts_with('.')) return false;
  if (kNames.contains(name)) return true;
  for (const char* ending : {".safetensors", ".bin", ".gguf", ".index.json", ".jinja"})
    if (name.ends_with(ending)) return true;
  return false;
}

// All of a small file; of a large one both ends and pieces all over it, so that weights rounded in another way, which
// differ nearly everywhere, are told apart though most of them is not read.
void add_file(Hash64& hash, const fs::path& path) {
  constexpr int64_t kEnd = 4 << 20, kPieces = 256, kPiece = 16 << 10;
  const File file(path);
  const int64_t size = file.size();
  hash.add(path.filename().string()).add_number(uint64_t(size));
  std::vector<std::byte> buffer(kEnd);
  const auto add = [&](int64_t begin, int64_t bytes) {
    file.read_at(begin, std::span(buffer.data(), size_t(bytes)));
    hash.add(buffer.data(), size_t(bytes));
  };
  if (size <= 2 * kEnd + kPieces * kPiece) {
    for (int64_t at = 0; at < size; at += kEnd) add(at, std::min(kEnd, size - at));
    return;
  }
  add(0, kEnd);
  for (int64_t i = 0; i < kPieces; ++i) add(kEnd + (size - 2 * kEnd - kPiece) * i / (kPieces - 1), kPiece);
  add(size - kEnd, kEnd);
}

}  // namespace

std::string model_hash(const checkpoint::Checkpoint& model, const session::LoadOptions& options) {
  Hash64 hash;
  if (model.path().empty()) {
    hash.add(checkpoint::to_json(model.config(), options.weights.dtype.value_or(model.natural_dtype())).dump());
    hash.add_number(options.synthetic_seed);
    return fmt::format("{:016x}", hash.value());
  }
  std::vector<fs::path> files;
  if (fs::is_directory(model.path())) {
    for (const fs::directory_entry& entry : fs::directory_iterator(model.path()))
      if (entry.is_regular_file() && makes_the_model(entry.path())) files.push_back(entry.path());
  } else {
    files.push_back(model.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& path : files) add_file(hash, path);
  return fmt::format("{:016x}", hash.value());
}

ordered_json model_facts(session::Session& loaded, const session::LoadOptions& options) {
  const checkpoint::Checkpoint& model = loaded.checkpoint();
  const compute::MachineInfo machine = loaded.engine().machine().info();
  const std::string name = model.path().empty() ? options.synthetic : session::model_name(model.path());
  const checkpoint::ModelConfig& config = model.config();
  const int64_t table = int64_t(config.vocabulary_size) * config.hidden_size;
  return {{"name", name},
          {"path", model.path().string()},
          {"hash", model_hash(model, options)},
          {"synthetic", options.synthetic.empty() ? ordered_json(nullptr) : ordered_json(options.synthetic)},
          {"synthetic_seed", options.synthetic_seed},
          {"container", model.container()},
          {"architecture", config.architecture_name},
          {"parameters", config.parameters()},
          // What a decode step multiplies with: of two tables, the embedding is only looked up.
          {"step_parameters", config.parameters() - (config.tied_embeddings ? 0 : table)},
          {"head_parameters", table},
          {"dtype", loaded.packing_names()},
          {"kv_dtype", compute::name(loaded.engine().options().kv_dtype)},
          {"device", machine.name},
          {"instruction_set", machine.path},
          {"activations", loaded.activations()},
          {"threads", machine.threads},
          {"tuning", loaded.tuning_source()},
          {"numerics_key", loaded.engine().numerics_key()},
          {"load_s", loaded.load_s()}};
}

ordered_json memory_facts(session::Session& loaded) {
  const session::MemoryUse use = loaded.memory();
  return {{"weights_bytes", use.weights_bytes},
          {"kv_bytes", use.kv_bytes},
          {"workspace_bytes", use.workspace_bytes},
          {"streamed_bytes_per_step", loaded.engine().decoder().weights().bytes_streamed_per_step()},
          {"peak_resident_bytes", peak_resident_bytes()}};
}

ordered_json bandwidth_facts(const compute::ReadBandwidth& before, const compute::ReadBandwidth& after) {
  const compute::ReadBandwidth& best = before.bytes_per_second >= after.bytes_per_second ? before : after;
  ordered_json patterns = ordered_json::array();
  for (const auto& p : best.patterns)
    patterns.push_back({{"streams_per_thread", p.streams},
                        {"prefetch", p.prefetch},
                        {"huge_pages", p.huge_pages},
                        {"bytes_per_second", p.bytes_per_second}});
  return {{"read_bandwidth_bytes_per_second", best.bytes_per_second},
          {"before_bytes_per_second", before.bytes_per_second},
          {"after_bytes_per_second", after.bytes_per_second},
          {"bytes_per_pass", best.bytes},
          {"passes", before.passes + after.passes},
          {"patterns", patterns}};
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

ordered_json read_run_record(const std::string& path) {
  if (access(path.c_str(), R_OK) != 0) fail("{}: cannot be opened: {}", path, std::strerror(errno));
  ordered_json record = checkpoint::read_or_discard(path);
  if (!record.is_object() || !record.contains("schema") || record["schema"] != kRunRecordSchema)
    fail("{}: this is not a run record of schema {} (`updraft bench --format json` writes one)", path,
         kRunRecordSchema);
  return record;
}

}  // namespace updraft::measure
