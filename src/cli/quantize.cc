// updraft quantize: a model with its matrices in 4 or 8 bits, as a folder in the compressed-tensors format.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>

#include "base/error.h"
#include "cli/command.h"
#include "cli/hub_options.h"
#include "cli/terminal.h"
#include "measure/evaluate.h"
#include "session/calibration.h"

namespace updraft::cli {
namespace {

struct QuantizeFlags {
  std::string in, out, group_size = "128", calibrate, device = "cpu";
  bool int4 = false, int8 = false, asymmetric = false, offline = false;
  int64_t calibration_tokens = 8192;
  int threads = 0;
};

constexpr int64_t kCalibrationWindow = 512;

checkpoint::QuantizeOptions quantize_options(const QuantizeFlags& flags) {
  checkpoint::QuantizeOptions options;
  options.bits = flags.int4 ? 4 : 8;
  options.asymmetric = flags.asymmetric;
  options.threads = flags.threads;
  options.group = flags.group_size == "channel" ? 0 : std::stoll(flags.group_size);
  return options;
}

// "q_proj, k_proj: groups of 64 (576 inputs)": what was chosen for which matrices.
void print_plan(const std::vector<checkpoint::QuantizedMatrix>& plan) {
  std::map<std::pair<int64_t, int64_t>, std::string> names;  // by group and inputs
  for (const checkpoint::QuantizedMatrix& matrix : plan) {
    if (!matrix.tensor.name.starts_with("model.layers.0.")) continue;
    std::string& list = names[{matrix.format.group, matrix.tensor.columns()}];
    const std::string module = matrix.tensor.name.substr(0, matrix.tensor.name.rfind('.'));
    list += (list.empty() ? "" : ", ") + module.substr(module.rfind('.') + 1);
  }
  for (const auto& [key, list] : names)
    say_error("{}: {}\n", list,
              key.first == key.second ? fmt::format("one scale a row of {}", key.second)
                                      : fmt::format("groups of {} ({} inputs)", key.first, key.second));
}

// Types that are rounded a second time.
void print_stored_types(const checkpoint::Checkpoint& model, const std::vector<checkpoint::QuantizedMatrix>& plan) {
  std::set<std::string> types;
  for (const checkpoint::QuantizedMatrix& matrix : plan)
    if (const checkpoint::TensorInfo* info = model.info(matrix.tensor.name))
      if (info->stored_type != "F32" && info->stored_type != "F16" && info->stored_type != "BF16")
        types.insert(info->stored_type);
  if (!types.empty())
    say_error(
        "the model is quantized already ({}): its matrices are dequantized and rounded again, which adds to "
        "what the first rounding lost\n",
        fmt::join(types, ", "));
}

// The sizes of group in a folder's config; 0: a whole row.
std::set<int64_t> group_sizes(const std::vector<checkpoint::QuantizedMatrix>& plan) {
  std::set<int64_t> sizes;
  for (const checkpoint::QuantizedMatrix& matrix : plan)
    sizes.insert(matrix.format.group == matrix.tensor.columns() ? 0 : matrix.format.group);
  return sizes;
}

// The --group-size that gives every matrix the same, the largest below 128.
std::string single_group_size(const checkpoint::Checkpoint& model, checkpoint::QuantizeOptions options) {
  for (const int64_t size : {64, 32}) {
    options.group = size;
    if (group_sizes(checkpoint::plan_quantization(model, options)).size() == 1) return std::to_string(size);
  }
  return "channel";
}

// Where transformers 5.23 and 5.24 with compressed-tensors 0.20 do not open such a folder by themselves (the two ways
// and their reasons: tools/quantized_golden.py).
void print_transformers_limits(const checkpoint::Checkpoint& model, const checkpoint::QuantizeOptions& options,
                               const std::vector<checkpoint::QuantizedMatrix>& plan) {
  const bool several = group_sizes(plan).size() > 1;
  if (!several && !options.asymmetric) return;
  const std::string remedy = several ? ": --group-size " + single_group_size(model, options) + " gives one" : "";
  const char* limit = "transformers opens this, but its dequantize=True wants one size of group";
  if (options.asymmetric)
    limit = several
                ? "transformers does not open this: zero points take its dequantize=True, which wants one size of group"
                : "transformers opens zero points with CompressedTensorsConfig(dequantize=True) only";
  say_error("{}{}\n", limit, remedy);
}

std::unique_ptr<checkpoint::MatrixQuantizer> make_quantizer(const QuantizeFlags& flags,
                                                            const checkpoint::Checkpoint& model,
                                                            const std::vector<checkpoint::QuantizedMatrix>& plan,
                                                            std::function<void(double fraction)> tell) {
  if (flags.calibrate.empty()) return checkpoint::make_nearest_quantizer(model);
  const auto tokenizer = session::open_tokenizer(flags.in);
  measure::EvaluationText text = measure::read_evaluation_text(flags.calibrate, *tokenizer, flags.calibration_tokens);
  compute::MachineOptions options;
  options.threads = flags.threads;
  options.activations = compute::Activations::kF32;
  return session::make_calibrated_quantizer(model, plan, compute::make_machine(flags.device, options), text.prefix,
                                            text.ids, kCalibrationWindow, flags.threads, std::move(tell));
}

// A folder's tokenizer files are copied; what a .gguf has of them is written out.
checkpoint::TextFiles carried_files(const checkpoint::Checkpoint& model) {
  if (std::filesystem::is_directory(model.path())) return {};
  std::string why = "it has none";
  try {
    checkpoint::TextFiles files = session::embedded_tokenizer_files(model);
    if (!files.empty()) return files;
  } catch (const Error& error) {
    why = error.what();
  }
  say_error("the folder gets no tokenizer from {} ({}): copy the model's tokenizer.json into it\n",
            model.path().string(), why);
  return {};
}

int run(QuantizeFlags flags) {
  flags.in = resolve_model(flags.in, flags.offline);
  const auto model = checkpoint::open_checkpoint(flags.in);
  checkpoint::QuantizeOptions options = quantize_options(flags);
  options.carried = carried_files(*model);
  const auto plan = checkpoint::plan_quantization(*model, options);
  print_stored_types(*model, plan);
  const bool calibrating = !flags.calibrate.empty();
  ProgressBar bar;
  Progress progress{calibrating ? "calibrating and quantizing" : "quantizing", 0, 0, "B"};
  const auto show = [&] {
    if (interrupted()) fail("interrupted; nothing was left behind.");
    bar.show(progress);
  };
  // Calibrating takes the time that writing does not: the bytes are shown as its share of them.
  const auto quantizer = make_quantizer(flags, *model, plan, [&](double fraction) {
    progress.done = int64_t(fraction * double(progress.total));
    show();
  });
  checkpoint::quantize_folder(*model, flags.out, options, *quantizer, [&](int64_t done, int64_t total) {
    progress.total = total;
    if (!calibrating) progress.done = done;
    show();
  });
  bar.finish();
  print_plan(plan);
  print_transformers_limits(*model, options, plan);
  say_error("wrote {}\n", flags.out);
  return kSuccess;
}

}  // namespace

void add_quantize(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App* command = app.add_subcommand(
      "quantize",
      "Write a model with its matrices in 4 or 8 bits, as a folder in the compressed-tensors format. "
      "A model that is quantized already is dequantized and rounded again");
  command->add_option("IN", flags->in, "The model: a folder, a .gguf file, or a name to pull")->required();
  command->add_option("OUT", flags->out, "The folder to write")->required();
  auto* int4 = command->add_flag("--int4", flags->int4, "4 bits a weight");
  auto* int8 = command->add_flag("--int8", flags->int8, "8 bits a weight");
  int4->excludes(int8);
  command
      ->add_option("--group-size", flags->group_size,
                   "Columns that share a scale, at most: 128, 64, 32, or channel (one scale a row). A matrix takes the "
                   "largest that divides its inputs")
      ->capture_default_str()
      ->check(CLI::IsMember({"128", "64", "32", "channel"}));
  command->add_flag("--asymmetric", flags->asymmetric, "A zero point a group");
  command->add_option("--calibrate", flags->calibrate,
                      "A text: round so that outputs on it, not weights, stay near (slower, better)");
  command->add_option("--calibrate-tokens", flags->calibration_tokens, "Of the text")
      ->capture_default_str()
      ->check(CLI::Range(int64_t(512), int64_t(1) << 24));
  command->add_option("--device", flags->device, "The machine that computes the calibration")
      ->capture_default_str()
      ->check(CLI::IsMember(compute::machine_names()));
  command->add_option("--threads", flags->threads, "Threads; 0: every processor this process may use")
      ->check(CLI::Range(0, 4096));
  command->add_flag("--offline", flags->offline, "Never touch the network");
  command->footer("Example:\n  updraft quantize ./model ./model-int4 --int4 --calibrate book.txt");
  command->callback([flags, &exit_code] {
    if (flags->int4 == flags->int8) throw CLI::ValidationError("give --int4 or --int8");
    exit_code = run(*flags);
  });
}

}  // namespace updraft::cli
