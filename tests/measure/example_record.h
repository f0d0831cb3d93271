// A run record made by hand, with text that would break a careless report. For tests only.
#pragma once

#include <nlohmann/json.hpp>

#include "measure/bench_protocol.h"
#include "measure/run_record.h"

namespace updraft::test {

// Each task has three runs of 4 tokens at `tokens_per_second`, a little apart from each other.
inline nlohmann::ordered_json example_record(double tokens_per_second = 10) {
  using nlohmann::ordered_json;
  ordered_json tasks = ordered_json::array();
  for (const char* id : {"chinese_qa", "code"}) {
    ordered_json samples = ordered_json::array();
    std::vector<double> latencies, rates;
    for (double off : {0.99, 1.0, 1.01}) {
      const double step = off / tokens_per_second;
      samples.push_back(
          {{"latency_s", 4 * step}, {"new_tokens", 4}, {"token_times_s", {step, 2 * step, 3 * step, 4 * step}}});
      latencies.push_back(4 * step);
      rates.push_back(1 / step);
    }
    tasks.push_back({{"id", id},
                     {"name", std::string("<task> & \"") + id + "\", 'x'"},
                     {"name_zh", "任务|<" + std::string(id) + ">"},
                     {"prompt_tokens", 20},
                     {"new_tokens", 4},
                     {"finish_reason", "length"},
                     {"latency_s", measure::summary_json(latencies)},
                     {"tokens_per_second", tokens_per_second},
                     {"tokens_per_second_summary", measure::summary_json(rates)},
                     {"time_to_first_token_s", measure::summary_json({1 / tokens_per_second})},
                     {"prefill_tokens_per_second", 20 * tokens_per_second},
                     {"decode_tokens_per_second", tokens_per_second},
                     {"inter_token_latency_s", {{"p50", 0.1}, {"p95", 0.2}, {"p99", 0.3}}},
                     {"text", "</pre><script src=\"http://example.com/x.js\">alert(1)</script>\n你好 & 再见"},
                     {"bytes_per_token", 14e9},
                     {"cache_resident", false},
                     {"bandwidth_fraction", 0.91},
                     {"logits_hash", "0123456789abcdef"},
                     {"samples", samples}});
  }
  const ordered_json sweep = {{{"kind", "prefill"},
                               {"prompt_tokens", 256},
                               {"prefill_tokens_per_second", measure::summary_json({100, 110})},
                               {"samples_s", {2.56, 2.33}}},
                              {{"kind", "decode"},
                               {"depth", 4096},
                               {"batch", 4},
                               {"depth_fill", "synthetic"},
                               {"decode_tokens_per_second", measure::summary_json({40, 41})},
                               {"step_s", measure::summary_json({0.1, 0.0976})},
                               {"bytes_per_step", 16e9},
                               {"bandwidth_fraction", 0.88},
                               {"plain_read_bytes_per_second", measure::summary_json({170e9, 180e9})},
                               {"of_plain_read", measure::summary_json({0.91, 0.95})},
                               {"samples_s", {0.1, 0.0976}}},
                              {{"kind", "rows"},
                               {"depth", 0},
                               {"rows", 4},
                               {"step_s", measure::summary_json({0.1, 0.1})},
                               {"times_one_row", 1.03},
                               {"samples_s", {0.1, 0.1}}}};
  return {
      {"schema", measure::kRunRecordSchema},
      {"created", "2026-11-23T15:04:05Z"},
      {"updraft", {{"version", "0.1.0"}, {"compiler", "gcc <12>"}, {"optimized", true}}},
      {"machine", {{"processor", "A & B <fast>"}, {"processors", 2}, {"memory_bytes", 25e9}}},
      {"model",
       {{"name", "mis\"tral<7b>"},
        {"hash", "00ff"},
        {"synthetic", "mistral-7b"},
        {"architecture", "MistralForCausalLM"},
        {"parameters", 7241732096},
        {"dtype", "bf16"},
        {"kv_dtype", "f16"},
        {"device", "cpu"},
        {"instruction_set", "avx512"},
        {"activations", "f32"},
        {"threads", 2}}},
      {"numerics_key", "cpu/avx512"},
      {"protocol",
       {{"warmup_runs", 1}, {"timed_runs", 3}, {"max_new_tokens", 4}, {"stop_at_eos", false}, {"prompts_hash", "abc"}}},
      {"bandwidth",
       {{"read_bandwidth_bytes_per_second", 40e9},
        {"before_bytes_per_second", 40e9},
        {"after_bytes_per_second", 39e9}}},
      {"memory",
       {{"weights_bytes", 14.5e9},
        {"kv_bytes", 1e8},
        {"streamed_bytes_per_step", 14.2e9},
        {"peak_resident_bytes", 15e9}}},
      {"peaks", ordered_json::array({{{"name", "F32 FMA"}, {"unit", "FLOP/s"}, {"per_second", 3e11}}})},
      {"complete", true},
      {"tasks", tasks},
      {"average", measure::average_row(tasks)},
      {"sweep", sweep}};
}

}  // namespace updraft::test
