// What the commands share: how one is registered, the options that mean the same everywhere, and how a model is loaded
// with a progress bar.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "session/session.h"

namespace updraft::cli {

// Exit codes of every command; doctor adds its own meaning to kNotReady.
enum ExitCode { kSuccess = 0, kFailure = 1, kUsage = 2, kNotReady = 3, kRegression = 4, kInterrupted = 130 };

// One function per command, each in its own file: adds the subcommand; its callback stores the exit code.
void add_generate(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_template(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);
void add_chat(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_logits(CLI::App& app, int& exit_code);
void add_quantize(CLI::App& app, int& exit_code);
void add_eval(CLI::App& app, int& exit_code);
void add_pull(CLI::App& app, int& exit_code);
void add_models(CLI::App& app, int& exit_code);
void add_bundle(CLI::App& app, int& exit_code);
void add_tune(CLI::App& app, int& exit_code);

inline constexpr int kMostThreads = 4096;
inline constexpr int64_t kLongestContext = int64_t(1) << 40;  // as the context of a request

// --device, --threads, --dtype, --kv-dtype, --context, --exact, --synthetic, --seed-weights: the same everywhere.
struct ModelOptions {
  std::string model;  // positional; may be empty with --synthetic
  std::string synthetic;
  uint64_t synthetic_seed = 1;
  std::string device = "cpu";
  std::string instruction_set;
  int threads = 0;
  bool exact = false;
  std::string dtype = "auto";
  std::string kv_dtype = "f16";
  int64_t context = 0;  // 0: not given
  bool speculate = false;
  std::string write;  // with --synthetic: a folder to write the weights to
  bool offline = false;

  // The model may be a name (organisation/name) in place of a folder: it is pulled first when it is not in the cache.
  // `this` must outlive the parsing.
  void add_to(CLI::App& command, bool positional_model);
  void resolve();  // the name, which add_to does after the parsing
  // --no-speculate, for commands that speculate unless told otherwise.
  void add_no_speculate(CLI::App& command);
  // Throws CLI::ValidationError without a model, Error for a value that is not known (a run record may have one).
  session::LoadOptions load_options() const;
};

// Loads with a progress bar and prints one line about what runs, on stderr unless `quiet`. `model`: as Session::load.
std::unique_ptr<session::Session> load_session(session::LoadOptions, bool quiet,
                                               std::unique_ptr<checkpoint::Checkpoint> model = nullptr);

// "mistral-7b bf16, KV f16, cpu avx512+amx (bf16x2), 2 threads"
std::string describe(session::Session&);

std::string tuning_folder();  // under the cache folder: where tune keeps what the other commands use

std::vector<int32_t> parse_ids(const std::string& list);  // "1,2,3"; throws Error

}  // namespace updraft::cli
