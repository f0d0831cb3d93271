#include "measure/report_rows.h"

#include <fmt/format.h>

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

// Picks the text of a language; both are written side by side so that they cannot drift apart.
struct Words {
  Language language;
  std::string operator()(const char* english, const char* chinese) const {
    return language == Language::kChinese ? chinese : english;
  }
};

const ordered_json& at(const ordered_json& object, const char* key) {
  static const ordered_json kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string text_at(const ordered_json& object, const char* key) {
  const ordered_json& value = at(object, key);
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "-" : value.dump();
}

std::string fraction_cell(const ordered_json& row, const Words& say) {
  if (at(row, "cache_resident") == true) return say("cache-resident", "缓存驻留");
  const ordered_json& fraction = at(row, "bandwidth_fraction");
  return fraction.is_number() ? fmt::format("{:.1f} %", fraction.get<double>() * 100) : "-";
}

std::string fill_name(const std::string& fill, const Words& say) {
  if (fill == "synthetic") return say("synthetic", "合成");
  if (fill == "prefill") return say("prefill", "真实预填充");
  return say("none", "无");
}

}  // namespace

double number_at(const ordered_json& object, const char* key) {
  const ordered_json& value = at(object, key);
  return value.is_number() ? value.get<double>() : 0;
}

std::string cell(const ordered_json& object, const char* key, const char* format, double scale) {
  const ordered_json& value = at(object, key);
  return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>() * scale) : "-";
}

std::string without_controls(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = uint8_t(text[i]);
    const bool wide =
        byte == 0xc2 && i + 1 < text.size() && uint8_t(text[i + 1]) >= 0x80 && uint8_t(text[i + 1]) < 0xa0;
    if (wide) ++i;
    if (wide || byte == 0x7f || (byte < 0x20 && byte != '\t' && byte != '\n'))
      out += "\uFFFD";
    else
      out += text[i];
  }
  return out;
}

std::string gigabytes(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes / 1e6) : fmt::format("{:.2f} GB", bytes / 1e9);
}

TableText task_table(const ordered_json& record, Language language) {
  const Words say{language};
  TableText table;
  table.header = {say("Task", "任务"),
                  say("Prompt", "提示词元"),
                  say("New", "新词元"),
                  say("Latency (s)", "平均延迟 (s)"),
                  say("Tokens/s", "吞吐 (tok/s)"),
                  say("First token (s)", "首词元 (s)"),
                  say("Prefill tok/s", "预填充 tok/s"),
                  say("Decode tok/s", "解码 tok/s"),
                  say("p50/p95/p99 (ms)", "词元间隔 p50/p95/p99 (ms)")};
  const bool speculates = at(at(record, "protocol"), "speculate") == true;
  if (speculates)
    table.header.insert(table.header.end(), {say("Proposed", "推测词元"), say("Accepted", "接受"),
                                             say("Tokens a step", "每步词元"), say("x plain", "相对普通解码")});
  else
    table.header.push_back(say("Of read bandwidth", "占读带宽"));
  for (const ordered_json& task : at(record, "tasks")) {
    const ordered_json& gaps = at(task, "inter_token_latency_s");
    const ordered_json& latency = at(task, "latency_s");
    const ordered_json& interval = at(latency, "confidence_95");
    const std::string half =  // the upper one: the lower one may have ended at 0
        interval.is_array() ? fmt::format(" ±{:.3f}", interval[1].get<double>() - number_at(latency, "mean")) : "";
    table.rows.push_back(
        {text_at(task, language == Language::kChinese ? "name_zh" : "name"), cell(task, "prompt_tokens", "{:.0f}"),
         cell(task, "new_tokens", "{:.0f}"), cell(latency, "mean", "{:.3f}") + half,
         cell(task, "tokens_per_second", "{:.2f}"), cell(at(task, "time_to_first_token_s"), "median", "{:.3f}"),
         cell(task, "prefill_tokens_per_second", "{:.1f}"), cell(task, "decode_tokens_per_second", "{:.2f}"),
         at(gaps, "p50").is_number() ? fmt::format("{}/{}/{}", cell(gaps, "p50", "{:.1f}", 1e3),
                                                   cell(gaps, "p95", "{:.1f}", 1e3), cell(gaps, "p99", "{:.1f}", 1e3))
                                     : "-"});
    std::vector<std::string>& row = table.rows.back();
    const ordered_json& guesses = at(task, "speculation");
    if (speculates)
      row.insert(row.end(), {cell(guesses, "proposed", "{:.0f}"), cell(guesses, "accepted", "{:.0f}"),
                             cell(guesses, "tokens_per_step", "{:.2f}"), cell(guesses, "speedup", "{:.2f}")});
    else
      row.push_back(fraction_cell(task, say));
  }
  const ordered_json& average = at(record, "average");
  if (average.is_object() && !table.rows.empty()) {
    table.rows.push_back({say("Average", "平均"), "", "", cell(average, "latency_s", "{:.3f}"),
                          cell(average, "tokens_per_second", "{:.2f}"),
                          cell(average, "time_to_first_token_s", "{:.3f}"),
                          cell(average, "prefill_tokens_per_second", "{:.1f}"),
                          cell(average, "decode_tokens_per_second", "{:.2f}"), ""});
    std::vector<std::string>& row = table.rows.back();
    const ordered_json& guesses = at(average, "speculation");
    if (speculates)
      row.insert(row.end(), {"", "", cell(guesses, "tokens_per_step", "{:.2f}"),
                             cell(guesses, "speedup", "{:.2f}") + say(" (median)", " (中位数)")});
    else
      row.push_back(at(average, "bandwidth_fraction").is_number() ? fraction_cell(average, say)
                                                                  : table.rows.front().back());
    table.last_row_is_total = true;
  }
  return table;
}

TableText prefill_table(const ordered_json& record, Language language) {
  const Words say{language};
  TableText table;
  for (const ordered_json& point : at(record, "sweep")) {
    if (at(point, "kind") != "prefill") continue;
    const ordered_json& rate = at(point, "prefill_tokens_per_second");
    table.rows.push_back({cell(point, "prompt_tokens", "{:.0f}"), cell(rate, "median", "{:.1f}"),
                          cell(rate, "min", "{:.1f}"), cell(rate, "max", "{:.1f}")});
  }
  if (!table.rows.empty())
    table.header = {say("Prompt tokens", "提示词元"), say("Prefill tok/s (median)", "预填充 tok/s (中位数)"),
                    say("min", "最小"), say("max", "最大")};
  return table;
}

TableText decode_table(const ordered_json& record, Language language) {
  const Words say{language};
  TableText table;
  for (const ordered_json& point : at(record, "sweep")) {
    if (at(point, "kind") != "decode") continue;
    const ordered_json& rate = at(point, "decode_tokens_per_second");
    table.rows.push_back({cell(point, "depth", "{:.0f}"), cell(point, "batch", "{:.0f}"),
                          cell(rate, "median", "{:.2f}"), cell(rate, "min", "{:.2f}"), cell(rate, "max", "{:.2f}"),
                          gigabytes(number_at(point, "bytes_per_step")), fraction_cell(point, say),
                          cell(at(point, "of_plain_read"), "median", "{:.1f} %", 100),
                          fill_name(text_at(point, "depth_fill"), say)});
  }
  if (!table.rows.empty())
    table.header = {say("Depth", "上下文深度"),
                    say("Batch", "批大小"),
                    say("Decode tok/s (median)", "解码 tok/s (中位数)"),
                    say("min", "最小"),
                    say("max", "最大"),
                    say("Read per step", "每步读取"),
                    say("Of read bandwidth", "占读带宽"),
                    say("Of a read in turns", "占交替纯读"),
                    say("Depth fill", "填充方式")};
  return table;
}

TableText rows_table(const ordered_json& record, Language language) {
  const Words say{language};
  TableText table;
  for (const ordered_json& point : at(record, "sweep")) {
    if (at(point, "kind") != "rows") continue;
    const ordered_json& step = at(point, "step_s");
    table.rows.push_back({cell(point, "depth", "{:.0f}"), cell(point, "rows", "{:.0f}"),
                          cell(step, "median", "{:.2f}", 1e3), cell(step, "min", "{:.2f}", 1e3),
                          cell(step, "max", "{:.2f}", 1e3), cell(point, "times_one_row", "{:.3f}")});
  }
  if (!table.rows.empty())
    table.header = {say("Depth", "上下文深度"),
                    say("Rows of one step", "单步行数"),
                    say("Step (ms, median)", "单步 (ms, 中位数)"),
                    say("min", "最小"),
                    say("max", "最大"),
                    say("x one row", "相对单行")};
  return table;
}

std::vector<std::pair<std::string, std::string>> fact_rows(const ordered_json& record, Language language) {
  const Words say{language};
  std::vector<std::pair<std::string, std::string>> rows;
  const ordered_json &model = at(record, "model"), &machine = at(record, "machine"), &memory = at(record, "memory"),
                     &bandwidth = at(record, "bandwidth"), &protocol = at(record, "protocol");
  if (at(record, "target").is_string()) {
    rows.emplace_back(say("Endpoint", "服务地址"), text_at(record, "target"));
    rows.emplace_back(say("Model", "模型"), text_at(model, "name"));
  }
  if (model.is_object() && at(model, "dtype").is_string()) {
    rows.emplace_back(say("Model", "模型"),
                      fmt::format("{} ({}, {:.3g} B), {} {}, KV {}", text_at(model, "name"),
                                  text_at(model, "architecture"), number_at(model, "parameters") / 1e9,
                                  say("weights", "权重"), text_at(model, "dtype"), text_at(model, "kv_dtype")));
    rows.emplace_back(say("Computed by", "计算"),
                      fmt::format("{} {}, {} {}, {} {}", text_at(model, "device"), text_at(model, "instruction_set"),
                                  say("activations", "激活"), text_at(model, "activations"), text_at(model, "threads"),
                                  say("threads", "线程")));
  }
  if (machine.is_object())
    rows.emplace_back(say("Machine", "机器"),
                      fmt::format("{}, {} {}, {}", text_at(machine, "processor"), text_at(machine, "processors"),
                                  say("processors", "处理器"), gigabytes(number_at(machine, "memory_bytes"))));
  if (protocol.is_object() && at(protocol, "no_tasks") != true)
    rows.emplace_back(
        say("Protocol", "协议"),
        fmt::format("{} + {} {}, {} {}, {}", text_at(protocol, "warmup_runs"), text_at(protocol, "timed_runs"),
                    say("runs (warm-up + timed)", "次 (预热 + 计时)"), text_at(protocol, "max_new_tokens"),
                    say("new tokens, greedy", "个新词元, 贪心"),
                    at(protocol, "stop_at_eos") == true ? say("stops at end-of-sequence", "遇结束符停止")
                                                        : say("end-of-sequence never chosen", "不选结束符")));
  if (const ordered_json& sweep = at(protocol, "sweep"); sweep.is_object() && !at(record, "sweep").empty())
    rows.emplace_back(
        say("Sweep", "扫描"),
        fmt::format("{} {}, {} {}", text_at(sweep, "samples"),
                    say("samples of each point after one uncounted", "次采样 (每点, 另有一次不计)"),
                    text_at(sweep, "decode_tokens"), say("steps in a sample of decoding", "步 (每次解码采样)")));
  if (bandwidth.is_object())
    rows.emplace_back(
        say("Read bandwidth", "读带宽"),
        fmt::format("{}/s ({} {}/s, {} {}/s)", gigabytes(number_at(bandwidth, "read_bandwidth_bytes_per_second")),
                    say("before", "之前"), gigabytes(number_at(bandwidth, "before_bytes_per_second")),
                    say("after", "之后"), gigabytes(number_at(bandwidth, "after_bytes_per_second"))));
  if (memory.is_object())
    rows.emplace_back(
        say("Memory", "内存"),
        fmt::format("{} {} + KV {}; {} {}; {} {}", say("weights", "权重"),
                    gigabytes(number_at(memory, "weights_bytes")), gigabytes(number_at(memory, "kv_bytes")),
                    say("peak resident", "常驻峰值"), gigabytes(number_at(memory, "peak_resident_bytes")),
                    say("read by each decode step", "每步解码读取"),
                    gigabytes(number_at(memory, "streamed_bytes_per_step"))));
  if (at(record, "numerics_key").is_string())
    rows.emplace_back(say("Numerics key", "数值键"), text_at(record, "numerics_key"));
  return rows;
}

std::vector<std::string> warnings(const ordered_json& record, Language language) {
  const Words say{language};
  std::vector<std::string> list;
  if (at(at(record, "model"), "synthetic").is_string())
    list.push_back(say("The weights are synthetic: the computation and its speed are real, the text means nothing.",
                       "权重为合成数据: 计算与速度真实, 文本没有意义。"));
  bool resident = false;
  for (const ordered_json& task : at(record, "tasks")) resident = resident || at(task, "cache_resident") == true;
  if (resident)
    list.push_back(
        say("cache-resident: the weights are under twice the last-level cache, so memory bandwidth is no limit and no "
            "fraction "
            "of it is given.",
            "缓存驻留: 权重不到末级缓存的两倍, 内存带宽不是瓶颈, 因此不给出占比。"));
  const ordered_json& protocol = at(record, "protocol");
  bool early = false;
  for (const ordered_json& task : at(record, "tasks"))
    early = early || (at(protocol, "stop_at_eos") == false &&
                      number_at(task, "new_tokens") < number_at(protocol, "max_new_tokens"));
  if (early)
    list.push_back(
        say("Some answers ended before the number of new tokens asked for, although end-of-sequence was to be "
            "ignored: rates count the tokens that were made.",
            "部分回答在达到要求的新词元数之前结束 (服务端未忽略结束符): 速率按实际生成的词元计算。"));
  const ordered_json& refused = at(record, "refused_fields");
  if (refused.is_array() && !refused.empty())
    list.push_back(fmt::format("{}: {}",
                               say("The server refused these fields of the request, and they were left out",
                                   "服务端拒绝了请求中的以下字段, 已省略"),
                               refused.dump()));
  if (at(record, "tokens_counted_by") == "pieces")
    list.push_back(say("The server gave no token counts: each piece of the stream counts as one token.",
                       "服务端未提供词元计数: 流中的每个片段计为一个词元。"));
  if (at(record, "complete") == false)
    list.push_back(say("The run was stopped: not every task is here.", "运行被中断: 任务不完整。"));
  return list;
}

}  // namespace updraft::measure
