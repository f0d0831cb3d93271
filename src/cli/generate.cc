// updraft generate: one prompt, or many as JSON lines batched by the engine.
#include <fmt/format.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <iostream>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "cli/command.h"
#include "cli/json_lines.h"
#include "cli/sampling_flags.h"
#include "cli/terminal.h"
#include "session/request_settings.h"

namespace updraft::cli {
namespace {

using nlohmann::ordered_json;

struct GenerateOptions {
  ModelOptions model;
  SamplingFlags sampling;
  std::optional<std::string> prompt;
  std::string ids, system;
  int64_t batch = 16;
  bool chat = false, json = false, json_lines = false;
};

constexpr int64_t kDefaultNewTokens = 256;

ordered_json timings_json(const session::TextAnswer& result) {
  const engine::Timings& t = result.answer.timings;
  const auto rate = [](double count, double seconds) -> ordered_json {
    return seconds > 0 ? ordered_json(count / seconds) : ordered_json(nullptr);
  };
  const int64_t computed = result.answer.prompt_tokens - result.answer.cached_tokens;
  return {{"queued_s", t.queued_s},
          {"time_to_first_token_s", t.time_to_first_token_s},
          {"prefill_s", t.prefill_s},
          {"decode_s", t.decode_s},
          {"prefill_tokens_per_second", rate(double(computed), t.prefill_s)},
          {"decode_tokens_per_second", rate(double(result.answer.ids.size()) - 1, t.decode_s)}};
}

// What a sampling request must name to be repeated.
std::optional<uint64_t> seed_of(const session::TextRequest& request) {
  return request.sampling.do_sample ? std::optional(request.sampling.seed) : std::nullopt;
}

ordered_json answer_json(const session::TextAnswer& result, std::optional<uint64_t> seed) {
  if (result.answer.finish_reason == engine::FinishReason::kError) return error_line(result.answer.error);
  ordered_json json = {{"ids", result.answer.ids},
                       {"text", result.text},
                       {"finish_reason", engine::name(result.answer.finish_reason)},
                       {"prompt_tokens", result.answer.prompt_tokens},
                       {"cached_tokens", result.answer.cached_tokens},
                       {"timings", timings_json(result)},
                       {"speculation",
                        {{"proposed", result.answer.proposed},
                         {"accepted", result.answer.accepted},
                         {"tokens_per_step", result.answer.tokens_per_step()}}}};
  if (seed) json["seed"] = *seed;
  for (const engine::Token& token : result.answer.tokens) {
    ordered_json top = ordered_json::array();
    for (const auto& alternative : token.top)
      top.push_back({{"id", alternative.id}, {"logprob", alternative.log_probability}});
    json["logprobs"].push_back({{"id", token.id}, {"logprob", token.log_probability}, {"top", top}});
  }
  return json;
}

session::TextRequest build_request(const session::Session& loaded, const ordered_json& flags,
                                   const ordered_json& line) {
  if (!line.is_object()) fail("a line is a JSON object, not {}", line.type_name());
  ordered_json all = flags;
  for (const auto& [name, value] : line.items())
    if (!value.is_null()) all[name] = value;  // null: as if it were not there
  session::TextRequest request = make_request(loaded, all);
  if (!request.max_new_tokens && !request.max_length) request.max_new_tokens = kDefaultNewTokens;
  return request;
}

// Lines from standard input, read on a thread of their own: an interactive client may wait for one answer before it
// writes the next line, and the engine batches whatever is there.
class LineReader {
 public:
  LineReader() : thread_([state = state_] { state->read(); }) {}
  ~LineReader() {
    if (state_->ended())
      thread_.join();
    else
      thread_.detach();  // blocked on standard input; the shared state outlives it
  }

  // The next line if there is one; waits for one when `wait`.
  std::optional<std::string> next(bool wait) { return state_->next(wait); }
  bool ended() const { return state_->ended(); }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<std::string> lines;
    bool end = false;

    void read() {
      for (std::string line; std::getline(std::cin, line);) {
        const std::lock_guard lock(mutex);
        lines.push_back(std::move(line));
        arrived.notify_one();
      }
      const std::lock_guard lock(mutex);
      end = true;
      arrived.notify_one();
    }
    std::optional<std::string> next(bool wait) {
      std::unique_lock lock(mutex);
      while (wait && lines.empty() && !end && !interrupted()) arrived.wait_for(lock, std::chrono::milliseconds(200));
      if (lines.empty()) return std::nullopt;
      std::string line = std::move(lines.front());
      lines.pop_front();
      return line;
    }
    bool ended() {
      const std::lock_guard lock(mutex);
      return end && lines.empty();
    }
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

int run_lines(session::Session& loaded, const ordered_json& flags) {
  struct Slot {
    std::unique_ptr<session::Generation> generation;  // null: `error` is the answer
    std::optional<uint64_t> seed;
    std::string error;
  };
  std::deque<Slot> slots;  // in the order of the lines
  const auto give_out = [](Slot& slot) {
    fmt::print("{}\n",
               dump_line(slot.generation ? answer_json(slot.generation->take(), slot.seed) : error_line(slot.error)));
    flush_output();
  };
  constexpr size_t kMaxWaiting = 1024;
  LineReader reader;
  while (!interrupted() && !(reader.ended() && slots.empty())) {
    const bool idle = loaded.engine().idle();
    for (bool wait = idle && slots.empty(); slots.size() < kMaxWaiting; wait = false) {
      const std::optional<std::string> line = reader.next(wait);
      if (!line) break;
      if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
      Slot slot;
      try {
        session::TextRequest request = build_request(loaded, flags, parse_line(*line));
        slot.seed = seed_of(request);
        slot.generation = loaded.submit(std::move(request));
      } catch (const std::exception& e) {
        slot.error = e.what();
      }
      slots.push_back(std::move(slot));
    }
    loaded.engine().step([](int64_t) { return !interrupted(); });
    while (!slots.empty() && (!slots.front().generation || slots.front().generation->finished())) {
      give_out(slots.front());
      slots.pop_front();
    }
  }
  if (!interrupted()) return kSuccess;
  // Every request that was read gets its line, those that were running with what they have.
  for (Slot& slot : slots)
    if (slot.generation) slot.generation->cancel();
  for (Slot& slot : slots) {
    while (slot.generation && !slot.generation->finished()) loaded.engine().step([](int64_t) { return false; });
    give_out(slot);
  }
  return kInterrupted;
}

int run_one(session::Session& loaded, const GenerateOptions& options, const ordered_json& flags) {
  ordered_json line = ordered_json::object();
  if (!options.ids.empty())
    line["ids"] = parse_ids(options.ids);
  else if (options.chat) {
    line["messages"] = ordered_json::array({{{"role", "user"}, {"content", *options.prompt}}});
    if (!options.system.empty()) line["system"] = options.system;
  } else {
    line["prompt"] = *options.prompt;
  }
  session::TextRequest request = build_request(loaded, flags, line);
  const std::optional<uint64_t> seed = seed_of(request);
  ProgressBar bar;
  if (!options.json)
    request.on_text = [&](std::string_view text) {
      bar.finish();
      std::fwrite(text.data(), 1, text.size(), stdout);
      flush_output();
    };
  const session::TextAnswer result = loaded.generate(std::move(request), &interrupted(), [&](const Progress& reading) {
    if (!options.json && reading.done < reading.total) bar.show(reading);
  });
  bar.finish();
  if (result.answer.finish_reason == engine::FinishReason::kError) fail("{}", result.answer.error);
  if (options.json) {
    ordered_json json = answer_json(result, seed);
    json["tuning"] = loaded.tuning_source();
    json["weights"] = loaded.packing_names();
    json["kv_dtype"] = compute::name(loaded.engine().options().kv_dtype);
    json["activations"] = loaded.activations();
    fmt::print("{}\n", dump_line(json));
  } else {
    fmt::print("\n");
    flush_output();  // before the closing line, where both go to one file
    const engine::Timings& t = result.answer.timings;
    const double tokens = double(result.answer.ids.size());
    say_error(
        "{}\n",
        styled(fmt::format("[{} + {} tokens, first after {}, {:.1f} tokens/s, {}{}]", result.answer.prompt_tokens,
                           result.answer.ids.size(), human_duration(t.time_to_first_token_s),
                           t.decode_s > 0 ? (tokens - 1) / t.decode_s : 0.0, engine::name(result.answer.finish_reason),
                           seed ? fmt::format(", seed {}", *seed) : ""),
               Style::kDim, stderr_is_terminal()));
  }
  return interrupted() ? kInterrupted : kSuccess;
}

// Of prompt and answer, as build_request will allow them; 0: the model's usual context.
int64_t most_tokens(const checkpoint::GenerationConfig& model, const ordered_json& flags, int64_t prompt_tokens) {
  if (flags.contains("max_new_tokens")) return prompt_tokens + flags["max_new_tokens"].get<int64_t>();
  if (!model.max_new_tokens && model.max_length) return 0;
  return prompt_tokens + model.max_new_tokens.value_or(kDefaultNewTokens);
}

int run(const GenerateOptions& options) {
  const ordered_json flags = options.sampling.settings_json();
  session::LoadOptions load = options.model.load_options();
  load.max_sequences = options.json_lines ? options.batch : 1;
  std::unique_ptr<checkpoint::Checkpoint> model;
  if (!options.ids.empty()) {  // a sequence may go beyond the model's usual context: its length is known here
    model = session::open_model(load);
    load.kv_tokens = most_tokens(model->generation_config(), flags, int64_t(parse_ids(options.ids).size()));
  }
  const auto loaded = load_session(load, options.json, std::move(model));
  return options.json_lines ? run_lines(*loaded, flags) : run_one(*loaded, options, flags);
}

}  // namespace

void add_generate(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt, or answer many as JSON lines");
  options->model.add_to(*command, true);
  options->model.add_no_speculate(*command);
  options->sampling.add_to(*command);
  command->add_option("PROMPT", options->prompt,
                      "Raw text (BOS is added); - reads standard input; with --chat what the user says");
  command->add_option("--ids", options->ids, "Token ids instead of text: 1,2,3");
  command->add_flag("--chat", options->chat, "Apply the model's chat template to PROMPT");
  command->add_option("--system", options->system, "With --chat: a system message");
  command->add_flag("--json", options->json, "One JSON object: ids, text, finish_reason, prompt_tokens, timings");
  command->add_flag(
      "--jsonl", options->json_lines,
      "One request a line on standard input (prompt, messages or ids, and any sampling setting), answers in order; an "
      "answer that was sampled names its seed");
  command->add_option("--batch", options->batch, "With --jsonl: requests computed together")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command->footer(
      "Examples:\n  updraft generate ./Mistral-7B-Instruct-v0.2 --chat \"Who are you?\"\n"
      "  updraft generate ./model \"Once upon a time\" --temperature 0.8 --seed 1 --max-new-tokens 50\n"
      "  updraft generate --synthetic mistral-7b:layers=2 \"\" --ids 1,2,3 --json\n"
      "  updraft generate ./model --jsonl < requests.jsonl > answers.jsonl");
  command->callback([options, &exit_code] {
    GenerateOptions& o = *options;
    // With --synthetic the model folder is optional: a single positional is the prompt.
    if (!o.model.synthetic.empty() && !o.prompt && !o.model.model.empty() && !std::filesystem::exists(o.model.model))
      o.prompt = std::exchange(o.model.model, "");
    if (o.prompt == "-") o.prompt = read_standard_input();
    if (int(o.prompt.has_value()) + int(!o.ids.empty()) + int(o.json_lines) != 1)
      throw CLI::ValidationError("give exactly one of PROMPT, --ids and --jsonl");
    if (!o.system.empty() && !o.chat) throw CLI::ValidationError("--system belongs to --chat");
    if (o.sampling.logprobs && !o.json && !o.json_lines)
      throw CLI::ValidationError("--logprobs needs --json or --jsonl, where they are shown");
    if (o.chat && !o.prompt)
      throw CLI::ValidationError("--chat belongs to PROMPT (a line of --jsonl has \"messages\")");
    exit_code = run(o);
  });
}

}  // namespace updraft::cli
