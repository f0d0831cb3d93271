// updraft eval: how well a model predicts a text, and how far it is from a reference: what a quantization costs.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/new_file.h"
#include "cli/command.h"
#include "cli/hub_options.h"
#include "cli/json_lines.h"
#include "cli/terminal.h"
#include "measure/evaluate.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct EvalOptions {
  ModelOptions model;
  std::string text, reference, reference_dtype = "f32", state;
  int64_t stride = 0, max_tokens = 0;
  bool no_reference = false, take_turns = false, json = false;
};

constexpr int64_t kDefaultContext = 512;
constexpr int64_t kMostTokens = 256 << 20;  // a text has no more bytes than that

// The reference's activations are F32, which integer weights do not go with.
std::string unknown_reference_weights(const std::string& type) {
  const std::optional<model::WeightChoice> choice = model::parse_weight_choice(type);
  return choice && !choice->format ? "" : fmt::format("{}: a reference has one of auto, f32, f16, bf16", type);
}

// The reference computes as exactly as this machine can: F32 activations, and K and V in F32.
std::optional<session::LoadOptions> reference_options(const EvalOptions& options, const session::LoadOptions& model) {
  if (options.no_reference) return std::nullopt;
  ModelOptions reference = options.model;
  if (!options.reference.empty()) reference.model = resolve_model(options.reference, options.model.offline);
  reference.dtype = options.reference_dtype;
  reference.kv_dtype = "f32";
  reference.exact = true;
  session::LoadOptions load = reference.load_options();
  load.progress = model.progress;
  return load;
}

void print_side(const char* title, const ordered_json& side) {
  fmt::print("{:<10} {:>10.4f} ± {:<8.4f} {:>14.4f}   {}\n", title, side["perplexity"].get<double>(),
             side["perplexity_standard_error"].get<double>(), side["bits_per_byte"].get<double>(),
             side["numerics_key"].get<std::string>());
}

void print_report(const ordered_json& report) {
  fmt::print("{}: {} tokens scored, in {} windows of {} tokens\n\n", report["text"]["path"].get<std::string>(),
             report["scored_tokens"].get<int64_t>(), report["windows_done"].get<int64_t>(),
             report["context"].get<int64_t>());
  fmt::print("{:<10} {:>21} {:>14}   {}\n", "", "perplexity", "bits per byte", "computed by");
  print_side("model", report["model"]);
  if (report["reference"].is_null()) return;
  print_side("reference", report["reference"]);
  const ordered_json& r = report["against_reference"];
  const auto number = [&](const char* key) { return r[key].get<double>(); };
  fmt::print(
      "\nagainst the reference\n"
      "  perplexity         x {:.5f}\n"
      "  KL divergence      {:.6f} ± {:.6f} on average; 99 % below {:.4f}, the largest {:.4f}\n"
      "  same first choice  {:.2f} ± {:.2f} %\n",
      number("perplexity_ratio"), number("kl_divergence_mean"), number("kl_divergence_standard_error"),
      number("kl_divergence_p99"), number("kl_divergence_max"), 100 * number("top1_agreement"),
      100 * number("top1_agreement_standard_error"));
}

// prefix: tokens (BOS) before each window's text.
void check_windows(const measure::EvaluationOptions& options, int64_t prefix) {
  if (options.stride > options.context)
    throw CLI::ValidationError(
        fmt::format("--stride {}: would leave out tokens between windows of {} tokens (--context)", options.stride,
                    options.context));
  const int64_t least = prefix + measure::kLeastTextOfWindow;
  if (options.context < least)
    throw CLI::ValidationError(fmt::format("--context {}: a window needs at least {} tokens of text{}; give {} or more",
                                           options.context, measure::kLeastTextOfWindow,
                                           prefix > 0 ? " after this model's BOS" : "", least));
}

int run(const EvalOptions& options) {
  if (!options.model.synthetic.empty()) fail("eval: a text means nothing to synthetic weights; give a model.");
  measure::EvaluationOptions evaluation;
  evaluation.model = options.model.load_options();
  evaluation.reference = reference_options(options, evaluation.model);
  evaluation.context = options.model.context > 0 ? options.model.context : kDefaultContext;
  evaluation.stride = options.stride;
  evaluation.take_turns = options.take_turns;
  evaluation.state_path = options.state;
  if (!options.state.empty()) refuse_unwritable(options.state);
  const auto tokenizer = session::open_tokenizer(options.model.model);
  const measure::EvaluationText text = measure::read_evaluation_text(options.text, *tokenizer, options.max_tokens);
  check_windows(evaluation, int64_t(text.prefix.size()));
  if (evaluation.reference && !options.reference.empty()) {
    const auto other = session::open_tokenizer(evaluation.reference->model);
    if (measure::read_evaluation_text(options.text, *other, options.max_tokens).ids != text.ids)
      fail("{} and {} cut {} into different tokens: their likelihoods cannot be compared token by token.",
           options.model.model, evaluation.reference->model, options.text);
  }
  ProgressBar bar;
  const auto load = [&](const session::LoadOptions& o) { return load_session(o, options.json); };
  const measure::Evaluation done = measure::evaluate(
      evaluation, text, load, [&](const Progress& p) { bar.show(p); }, interrupted());
  bar.finish();
  if (options.json)
    fmt::print("{}\n", dump_line(done.report));
  else if (done.report["scored_tokens"] != 0)
    print_report(done.report);
  if (done.finished) return kSuccess;
  say_error("interrupted after {} of {} windows{}\n", done.report["windows_done"].get<int64_t>(),
            done.report["windows"].get<int64_t>(),
            options.state.empty() ? std::string("; --resume FILE would have kept them")
                                  : "; the same command goes on from " + options.state);
  return kInterrupted;
}

}  // namespace

void add_eval(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand(
      "eval", "Perplexity on a text, and the distance from a reference: what INT8 or INT4 costs this model");
  options->model.add_to(*command, true);
  command->add_option("--text", options->text, "A text in UTF-8")->required();
  CLI::Option* reference = command->add_option("--reference", options->reference,
                                               "Compare with this model (same vocabulary) instead of the model itself");
  CLI::Option* reference_dtype =
      command
          ->add_option("--reference-dtype", options->reference_dtype,
                       "Type of the reference's weights: auto (as stored, integers dequantized), f32, f16, bf16; its "
                       "activations and KV cache are F32")
          ->capture_default_str()
          ->check(unknown_reference_weights);
  command->add_flag("--no-reference", options->no_reference, "Perplexity only")
      ->excludes(reference)
      ->excludes(reference_dtype);
  command
      ->add_option("--stride", options->stride,
                   "Tokens from window to window; less than --context gives later tokens more to go by (default, and "
                   "with as many as --context, 512 unless given: windows side by side, each with its BOS, if the "
                   "model has one)")
      ->check(CLI::Range(int64_t(1), kMostTokens));
  command->add_option("--max-tokens", options->max_tokens, "Only the first so many tokens of the text")
      ->check(CLI::Range(int64_t(1), kMostTokens));
  command->add_option("--resume", options->state,
                      "Keep the sums in this file after each window, and go on from it when it is there");
  command->add_flag("--take-turns", options->take_turns,
                    "Never hold model and reference in memory together (done by itself where memory is short)");
  command->add_flag("--json", options->json, "Print a JSON object");
  command->footer(
      "Speculation has no meaning here: every token of the text is given, none is guessed.\nExamples:\n"
      "  updraft eval ./model --text book.txt --dtype int8\n"
      "  updraft eval ./model-int4 --reference ./model --text book.txt --resume eval.json");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace updraft::cli
