#include "cli/command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "cli/environment.h"
#include "cli/hub_options.h"
#include "cli/terminal.h"

namespace updraft::cli {
namespace {

void write_synthetic(const session::LoadOptions& options, const std::string& folder) {
  if (options.synthetic.empty()) fail("--write {}: only --synthetic weights are written", folder);
  ProgressBar bar;
  Progress progress{"writing " + folder, 0, 0, "B"};
  const auto model = session::open_model(options);
  constexpr int64_t kShardBytes = 5'000'000'000;  // transformers' own limit
  checkpoint::write_folder(
      *model, folder, options.weights.dtype.value_or(model->natural_dtype()), kShardBytes,
      [&](int64_t done, int64_t total) {
        stop_if_interrupted();
        progress.done = done, progress.total = total;
        bar.show(progress);
      },
      options.threads);
  bar.finish();
  say_error("wrote {}\n", folder);
}

// What is wrong with the name of a type, "" for one that is known.
std::string unknown_weights(const std::string& type) {
  return model::parse_weight_choice(type) ? "" : fmt::format("{}: known are {}", type, model::kWeightChoices);
}

}  // namespace

void ModelOptions::add_to(CLI::App& command, bool positional_model) {
  if (positional_model)
    command.add_option("MODEL", model,
                       "A folder as Hugging Face ships it, a .gguf file, or a name such as Qwen/Qwen2.5-0.5B-Instruct, "
                       "which is pulled first when it is not in the cache");
  add_offline_flag(command, offline);
  command.parse_complete_callback([this] { resolve(); });
  command.add_option(
      "--synthetic", synthetic,
      "Weights made from a seed in the exact shape of NAME (mistral-7b, mistral-7b:layers=4, or a config.json): "
      "the real computation, no download, no meaning");
  command.add_option("--synthetic-seed", synthetic_seed, "Seed of the synthetic weights")->capture_default_str();
  command.add_option(
      "--write", write,
      "With --synthetic: first write the weights to this folder, as Hugging Face ships a model (type: --dtype)");
  command.add_option("--device", device, "cpu, or reference (double precision, slow, the oracle)")
      ->capture_default_str();
  command.add_option("--instruction-set", instruction_set,
                     "Use this one instead of the best this processor has (avx2, avx512, avx512+amx, neon)");
  command.add_option("--threads", threads, "Threads; 0: every processor this process may use")
      ->capture_default_str()
      ->check(CLI::Range(0, kMostThreads));
  command.add_option("--dtype", dtype, std::string("Weights in memory: ") + model::kWeightChoices)
      ->capture_default_str()
      ->check(unknown_weights);
  command.add_option("--kv-dtype", kv_dtype, fmt::format("KV cache: {}", compute::kKvTypeNames))
      ->capture_default_str()
      ->check([](const std::string& type) {
        return compute::kv_type_named(type) ? "" : fmt::format("{}: known are {}", type, compute::kKvTypeNames);
      });
  command
      .add_option("--context", context, "Longest prompt + answer, in tokens (default: the model's, as memory allows)")
      ->check(CLI::Range(int64_t(1), kLongestContext));
  command.add_flag("--exact", exact,
                   "F32 activations everywhere (on AMX with bf16 weights the default splits them in two bf16 terms)");
}

void ModelOptions::resolve() {
  if (synthetic.empty() && !model.empty()) model = resolve_model(model, offline);
}

void ModelOptions::add_no_speculate(CLI::App& command) {
  speculate = true;
  command.add_flag("!--no-speculate", speculate,
                   "Compute one token a step: do not guess the next ones from what was said before (the same answer)");
}

session::LoadOptions ModelOptions::load_options() const {
  if (model.empty() && synthetic.empty())
    throw CLI::ValidationError("no model: give a folder as Hugging Face ships it, a .gguf file, or --synthetic NAME");
  session::LoadOptions options;
  options.model = model;
  options.synthetic = synthetic;
  options.synthetic_seed = synthetic_seed;
  options.device = device;
  options.instruction_set = instruction_set;
  options.threads = threads;
  options.exact = exact;
  options.speculate = speculate;
  options.tuning_folder = tuning_folder();
  const std::optional<model::WeightChoice> weights = model::parse_weight_choice(dtype);
  if (!weights) fail("--dtype {}: known are {}", dtype, model::kWeightChoices);
  options.weights = *weights;
  const std::optional<compute::KvType> kv = compute::kv_type_named(kv_dtype);
  if (!kv) fail("--kv-dtype {}: the KV cache is kept as one of {}", kv_dtype, compute::kKvTypeNames);
  options.kv_dtype = *kv;
  if (context > 0) options.context = context;
  if (!write.empty()) write_synthetic(options, write);
  return options;
}

std::unique_ptr<session::Session> load_session(session::LoadOptions options, bool quiet,
                                               std::unique_ptr<checkpoint::Checkpoint> model) {
  ProgressBar bar;
  options.progress = [&](const Progress& progress) {
    stop_if_interrupted();
    if (!quiet) bar.show(progress);
  };
  std::unique_ptr<session::Session> loaded = session::Session::load(options, std::move(model));
  bar.finish();
  if (!quiet) {
    say_error("{}\n", styled(describe(*loaded), Style::kDim, stderr_is_terminal()));
    if (!options.synthetic.empty())
      say_error("{}\n",
                styled("These weights are synthetic: the computation and its speed are real, the text means nothing.",
                       Style::kYellow, stderr_is_terminal()));
  }
  return loaded;
}

std::string describe(session::Session& loaded) {
  const compute::MachineInfo info = loaded.engine().machine().info();
  const checkpoint::ModelConfig& config = loaded.checkpoint().config();
  const session::MemoryUse memory = loaded.memory();
  const std::string model =
      loaded.checkpoint().path().empty() ? std::string("synthetic") : session::model_name(loaded.checkpoint().path());
  const std::set<std::string>& rounded = loaded.engine().decoder().weights().rounded;
  const std::string loss = rounded.empty() ? "" : fmt::format(" (nearest: {})", fmt::join(rounded, ", "));
  return fmt::format(
      "{} ({}, {:.3g} B parameters): weights {}{} {}, KV {} up to {} tokens, {} {}, activations {}, {} thread{}{}, "
      "loaded "
      "in {}",
      model, config.architecture_name, double(config.parameters()) / 1e9, loaded.packing_names(), loss,
      human_bytes(double(memory.weights_bytes)), name(loaded.engine().options().kv_dtype),
      loaded.engine().options().max_context, info.name, info.path, loaded.activations(), info.threads,
      info.threads == 1 ? "" : "s", loaded.tuning_source() == std::string_view("file") ? " (tuned)" : "",
      human_duration(loaded.load_s()));
}

std::string tuning_folder() { return environment().cache_folder + "/tuning"; }

std::vector<int32_t> parse_ids(const std::string& list) {
  std::vector<int32_t> ids;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0)
      fail("--ids {}: token ids are whole numbers separated by commas, like 1,2,3", list);
    ids.push_back(id);
    at = next;
    while (at < end && (*at == ',' || *at == ' ')) ++at;
  }
  if (ids.empty()) fail("--ids: at least one token id is needed");
  return ids;
}

}  // namespace updraft::cli
