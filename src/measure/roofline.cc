#include "measure/roofline.h"

#include <fmt/format.h>

#include <algorithm>

#include "measure/report_rows.h"

namespace updraft::measure {
namespace {

using nlohmann::ordered_json;

// Of each token that comes out of a step, and of one that does not: the head multiplies the last row of a prompt alone.
struct Operations {
  double with_head = 0, without_head = 0;
  double of_prompt(double tokens) const { return without_head * (tokens - 1) + with_head; }
};

Operations operations_of(const ordered_json& model) {
  // Earlier records have neither part, only the sum of all parameters.
  const double step = number_at(model, model.contains("step_parameters") ? "step_parameters" : "parameters");
  return {2 * step, 2 * (step - number_at(model, "head_parameters"))};
}

std::vector<RooflinePoint> roofline_points(const ordered_json& record, Language language) {
  std::vector<RooflinePoint> points;
  const Operations token = operations_of(record.value("model", ordered_json::object()));
  const ordered_json memory = record.value("memory", ordered_json::object());
  const double streamed = number_at(memory, "streamed_bytes_per_step");
  if (token.with_head <= 0 || streamed <= 0) return points;
  const ordered_json average = record.value("average", ordered_json::object());
  const bool chinese = language == Language::kChinese;
  const auto add_prefill = [&](std::string label, double tokens, double tokens_per_second) {
    const double operations = token.of_prompt(tokens);
    points.push_back({std::move(label), operations / streamed, operations / tokens * tokens_per_second});
  };
  // Where a step brings several tokens, tokens per second are no measure of bytes.
  if (const double decode = number_at(average, "decode_tokens_per_second");
      decode > 0 && !average.contains("speculation"))
    points.push_back({chinese ? "解码" : "decode", token.with_head / streamed, token.with_head * decode});
  const ordered_json tasks = record.value("tasks", ordered_json::array());
  if (const double prefill = number_at(average, "prefill_tokens_per_second"); prefill > 0 && !tasks.empty()) {
    double prompt = 0;
    for (const ordered_json& task : tasks) prompt += number_at(task, "prompt_tokens") / double(tasks.size());
    if (prompt > 0) add_prefill(chinese ? "预填充" : "prefill", prompt, prefill);
  }
  for (const ordered_json& point : record.value("sweep", ordered_json::array())) {
    if (point.value("kind", "") == "prefill") {
      const double tokens = number_at(point, "prompt_tokens");
      add_prefill(fmt::format("{} {:.0f}", chinese ? "预填充" : "prefill", tokens), tokens,
                  number_at(point["prefill_tokens_per_second"], "median"));
    } else if (number_at(point, "bytes_per_step") > 0) {
      const double batch = number_at(point, "batch");
      points.push_back(
          {fmt::format("{} x{:.0f} @{:.0f}", chinese ? "解码" : "decode", batch, number_at(point, "depth")),
           token.with_head * batch / number_at(point, "bytes_per_step"),
           token.with_head * number_at(point["decode_tokens_per_second"], "median")});
    }
  }
  return points;
}

}  // namespace

Roofline roofline(const ordered_json& record, Language language) {
  Roofline out;
  out.bandwidth = number_at(record.value("bandwidth", ordered_json::object()), "read_bandwidth_bytes_per_second");
  out.points = roofline_points(record, language);
  // The first of the activations is that of the layers.
  const std::string activations = record.value("model", ordered_json::object()).value("activations", "");
  std::vector<std::string> ran = {"F32 FMA"};
  if (activations.starts_with("int8")) {
    ran = {"int8 VNNI", "int8 AMX"};  // a record does not say which: the larger is the roof of both
    out.unit = "OP";
  } else if (activations.starts_with("bf16")) {
    ran = {"bf16 AMX"};
  }
  for (const ordered_json& p : record.value("peaks", ordered_json::array()))
    if (std::find(ran.begin(), ran.end(), p.value("name", "")) != ran.end())
      out.peak = std::max(out.peak, number_at(p, "per_second"));
  return out;
}

}  // namespace updraft::measure
