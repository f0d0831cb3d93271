// updraft inspect: what is in a model: shapes, types, sizes, tokenizer, template, and the memory it needs.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "base/system_memory.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "cli/terminal.h"
#include "session/memory_plan.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct InspectOptions {
  ModelOptions model;
  bool tensors = false, json = false;
};

ordered_json tensor_list(const checkpoint::Checkpoint& model) {
  ordered_json list = ordered_json::array();
  for (const checkpoint::TensorInfo& t : model.tensors())
    list.push_back(
        {{"name", t.name}, {"type", t.stored_type}, {"shape", t.shape}, {"bytes", t.stored_bytes}, {"file", t.file}});
  return list;
}

constexpr const char* kRopeKinds[] = {"default", "linear", "dynamic", "yarn", "llama3", "longrope"};

ordered_json describe_config(const checkpoint::ModelConfig& c) {
  int window = 0;
  for (int w : c.windows) window = std::max(window, w);
  return {{"architecture", c.architecture_name},
          {"parameters", c.parameters()},
          {"layers", c.layers},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"query_heads", c.query_heads},
          {"key_value_heads", c.key_value_heads},
          {"head_dim", c.head_dim},
          {"vocabulary_size", c.vocabulary_size},
          {"max_context", c.max_context},
          {"rope", kRopeKinds[int(c.rope.kind)]},
          {"rope_theta", c.rope.theta},
          {"sliding_window", window ? ordered_json(window) : ordered_json(nullptr)},
          {"tied_embeddings", c.tied_embeddings}};
}

ordered_json describe(const InspectOptions& options) {
  const session::LoadOptions load = options.model.load_options();
  // Refused here as where it computes; the default must not be, for a model may be looked at on any processor.
  if (load.device != "cpu" || !load.instruction_set.empty())
    compute::make_machine(load.device, {.threads = 1, .instruction_set = load.instruction_set});
  const auto model = session::open_model(load);
  ordered_json out;
  out["container"] = model->container();
  out["path"] = model->path().string();
  out["config"] = describe_config(model->config());
  std::map<std::string, int64_t> by_type;
  int64_t stored = 0;
  for (const checkpoint::TensorInfo& t : model->tensors())
    by_type[t.stored_type] += t.stored_bytes, stored += t.stored_bytes;
  out["stored_bytes"] = stored;
  out["stored_types"] = by_type;
  out["tensors"] = options.tensors ? tensor_list(*model) : ordered_json(model->tensors().size());
  try {
    out["tokenizer"] =
        options.model.model.empty() ? "embedded bytes" : session::open_tokenizer(options.model.model)->description();
  } catch (const std::exception& e) {
    out["tokenizer"] = nullptr;
    out["tokenizer_problem"] = e.what();
  }
  out["chat_template"] =
      !options.model.model.empty() && !session::open_chat_settings(options.model.model).chat_template.empty();
  const int64_t context = load.context.value_or(std::min<int64_t>(model->config().max_context, 4096));
  out["memory"] = {{"context", context}, {"available_bytes", system_memory().available_bytes}};
  // One of the usual packings is what the file has, or auto is one of its own.
  const DType natural = model->natural_dtype();
  const model::WeightChoice automatic, as_stored{natural, {}};
  const bool stored_as_integers = std::any_of(model->tensors().begin(), model->tensors().end(),
                                              [](const checkpoint::TensorInfo& t) { return t.integers.has_value(); });
  std::vector<model::WeightChoice> choices = session::usual_choices();
  if (stored_as_integers) choices.insert(choices.begin(), automatic);
  if (load.weights != automatic) choices = {load.weights};
  for (const model::WeightChoice& choice : choices) {
    const session::MemoryPlan plan = session::plan_memory(*model, choice, load.kv_dtype, context);
    const bool is_natural = choice == (stored_as_integers ? automatic : as_stored);
    out["memory"]["packings"][name(choice)] = {{"weights_bytes", plan.weights_bytes},
                                               {"kv_bytes", plan.kv_bytes},
                                               {"total_bytes", plan.total_bytes},
                                               {"bytes_per_decoded_token", plan.streamed_bytes},
                                               {"natural", is_natural},
                                               {"fits", plan.total_bytes <= system_memory().available_bytes}};
  }
  return out;
}

void print(const ordered_json& d) {
  const auto bytes = [](const ordered_json& n) { return human_bytes(n.get<double>()); };
  const bool colour = stdout_is_terminal();
  fmt::print("{}  {} ({})\n", styled(d["config"]["architecture"].get<std::string>(), Style::kBold, colour),
             d["path"].get<std::string>(), d["container"].get<std::string>());
  for (const auto& [key, value] : d["config"].items())
    if (key != "architecture")
      fmt::print("  {:<18} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  fmt::print("  {:<18} {} in {}\n", "stored", bytes(d["stored_bytes"]), d["stored_types"].dump());
  fmt::print("  {:<18} {}\n", "tokenizer",
             d["tokenizer"].is_null() ? "none: " + d["tokenizer_problem"].get<std::string>()
                                      : d["tokenizer"].get<std::string>());
  fmt::print("  {:<18} {}\n", "chat_template", d["chat_template"].get<bool>() ? "yes" : "no");
  fmt::print("\nMemory for a context of {} tokens ({} available here):\n", d["memory"]["context"].dump(),
             bytes(d["memory"]["available_bytes"]));
  for (const auto& [type, plan] : d["memory"]["packings"].items())
    fmt::print(
        "  {:<8} {:>9} weights + {:>9} KV = {:>9}  {}{}\n", type, bytes(plan["weights_bytes"]), bytes(plan["kv_bytes"]),
        bytes(plan["total_bytes"]),
        plan["fits"].get<bool>() ? styled("fits", Style::kGreen, colour) : styled("does not fit", Style::kRed, colour),
        plan["natural"].get<bool>() && type != "auto" ? "  (--dtype auto)" : "");
  if (!d["tensors"].is_array()) return;
  fmt::print("\n");
  for (const ordered_json& t : d["tensors"])
    fmt::print("  {:<60} {:>5} {:>16} {:>9}  {}\n", t["name"].get<std::string>(), t["type"].get<std::string>(),
               t["shape"].dump(), bytes(t["bytes"]), t["file"].get<std::string>());
}

}  // namespace

void add_inspect(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "What is in a model: parameters, types, sizes, memory for a context");
  options->model.add_to(*command, true);
  command->add_flag("--tensors", options->tensors, "List every tensor");
  command->add_flag("--json", options->json, "One JSON object");
  command->footer(
      "Examples:\n  updraft inspect ./Mistral-7B-Instruct-v0.2 --context 32768\n  updraft inspect --synthetic "
      "mistral-7b");
  command->callback([options, &exit_code] {
    const ordered_json description = describe(*options);
    if (options->json)
      fmt::print("{}\n", description.dump(2, ' ', false, ordered_json::error_handler_t::replace));
    else
      print(description);
    exit_code = kSuccess;
  });
}

}  // namespace updraft::cli
