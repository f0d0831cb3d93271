#include "session/tuning.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "base/new_file.h"
#include "checkpoint/strict_json.h"
#include "compute/probe.h"

namespace updraft::session {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* kSchema = "updraft.tuning/1";

ordered_json json_of(const TunedFor& what) {
  return {{"version", what.version},
          {"processor", what.processor},
          {"path", what.path},
          {"threads", what.threads},
          {"shape", what.shape}};
}

bool valid(const compute::Tuning& t, const TunedFor& what) {
  const auto threads = [&](int n) { return n >= 0 && n <= what.threads; };
  const auto cost = [](double x) { return x >= 0 && x <= 100; };
  return threads(t.decode_threads) && threads(t.prefill_threads) && t.chunk_rows >= 1 && t.chunk_rows <= 256 &&
         (t.group_panels == 2 || t.group_panels == 4 || t.group_panels == 8) && t.step_rows >= 1 &&
         t.step_rows <= 4096 && cost(t.step_cost) && cost(t.row_cost);
}

}  // namespace

ordered_json tuning_json(const compute::Tuning& t) {
  return {{"decode_threads", t.decode_threads},
          {"prefill_threads", t.prefill_threads},
          {"chunk_rows", t.chunk_rows},
          {"group_panels", t.group_panels},
          {"step_rows", t.step_rows},
          {"step_cost", t.step_cost},
          {"row_cost", t.row_cost}};
}

TunedFor tuned_for(const checkpoint::ModelConfig& config, const compute::MachineInfo& info, std::string_view packings) {
  return {UPDRAFT_VERSION, compute::processor_name(), info.path, info.threads,
          fmt::format("hidden={} intermediate={} heads={}/{}x{} vocabulary={} weights={}", config.hidden_size,
                      config.intermediate_size, config.query_heads, config.key_value_heads, config.head_dim,
                      config.vocabulary_size, packings)};
}

std::string tuning_path(const std::string& folder, const TunedFor& what) {
  Hash64 hash;
  hash.add(json_of(what).dump());
  return fmt::format("{}/{:016x}.json", folder, hash.value());
}

std::optional<compute::Tuning> read_tuning(const std::string& folder, const TunedFor& what) {
  const ordered_json file = checkpoint::read_or_discard(tuning_path(folder, what));
  try {
    if (!file.is_object() || file.at("schema") != kSchema || file.at("for") != json_of(what)) return std::nullopt;
    const ordered_json& settings = file.at("tuning");
    compute::Tuning tuning;
    tuning.decode_threads = settings.at("decode_threads");
    tuning.prefill_threads = settings.at("prefill_threads");
    tuning.chunk_rows = settings.at("chunk_rows");
    tuning.group_panels = settings.at("group_panels");
    tuning.step_rows = settings.at("step_rows");
    tuning.step_cost = settings.at("step_cost");
    tuning.row_cost = settings.at("row_cost");
    if (valid(tuning, what)) return tuning;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
  return std::nullopt;
}

std::vector<std::string> tuned_shapes(const std::string& folder) {
  std::vector<std::string> shapes;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const ordered_json file = checkpoint::read_or_discard(entry.path());
    const ordered_json what = file.is_object() ? file.value("for", ordered_json()) : ordered_json();
    if (!what.is_object() || what.value("version", ordered_json()) != UPDRAFT_VERSION ||
        what.value("processor", ordered_json()) != compute::processor_name())
      continue;
    const ordered_json shape = what.value("shape", ordered_json()), path = what.value("path", ordered_json());
    if (shape.is_string() && path.is_string())
      shapes.push_back(fmt::format("{} ({}, {} threads)", shape.get<std::string>(), path.get<std::string>(),
                                   what.value("threads", ordered_json()).dump()));
  }
  std::sort(shapes.begin(), shapes.end());
  return shapes;
}

void make_tuning_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error && access(folder.c_str(), W_OK) != 0) error = std::error_code(errno, std::generic_category());
  if (error)
    fail("{}: tunings cannot be written there: {}; set UPDRAFT_CACHE to a folder that can be written.", folder,
         error.message());
}

void write_tuning(const std::string& folder, const TunedFor& what, const compute::Tuning& tuning,
                  const std::string& measured) {
  make_tuning_folder(folder);
  const ordered_json file = {{"schema", kSchema},
                             {"for", json_of(what)},
                             {"tuning", tuning_json(tuning)},
                             {"measured", ordered_json::parse(measured, nullptr, false)}};
  write_text_file(tuning_path(folder, what), file.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace updraft::session
