// What `bench` and `eval` read of earlier runs and of servers: run records, sums of an evaluation, event streams and
// the answers in them. The first byte chooses the reader.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/strict_json.h"
#include "cli/event_stream.h"
#include "cli/streamed_answer.h"
#include "measure/compare.h"
#include "measure/quality_sums.h"
#include "tests/measure/example_record.h"

namespace {

using namespace updraft;

void compare(const nlohmann::ordered_json& record) {
  static const nlohmann::ordered_json kGood = test::example_record();
  for (const auto& [a, b] : {std::pair(&kGood, &record), {&record, &kGood}, {&record, &record}}) try {
      const measure::Comparison comparison = measure::compare_records(*a, *b);
      measure::comparison_text(comparison, measure::Language::kChinese);
      measure::comparison_json(comparison).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
      measure::has_regression(comparison, 0.95);
    } catch (const Error&) {
    }
}

// Sums that were read are written as they are, and counted with.
void read_sums(const nlohmann::ordered_json& state) {
  try {
    measure::QualitySums sums = measure::QualitySums::from_state(state);
    CHECK(measure::QualitySums::from_state(sums.state()).state() == sums.state()) << state.dump();
    sums.add({.nll = 1, .divergence = 0.5}, 3);
    sums.nll(), sums.agreement(), sums.divergence_percentile(0.99);
  } catch (const Error&) {
  } catch (const nlohmann::json::exception&) {
  }
}

// However the network cut it, a stream is the same events.
void read_stream(std::string_view bytes) {
  const auto events_of = [&](size_t piece) {
    std::string seen;
    cli::StreamedAnswer answer;
    cli::EventStream events([&](std::string_view data) {
      seen.append(data) += '\0';
      answer.event(data, 1);
    });
    for (size_t i = 0; i < bytes.size(); i += piece) events.push(bytes.substr(i, piece));
    events.finish();
    return seen + answer.run.text + answer.error;
  };
  CHECK(events_of(1) == events_of(bytes.size() + 1)) << bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (uint8_t(data[0] - '0') % 4) {
    case 0:
      if (const auto record = checkpoint::parse_or_discard(text); record.is_object()) compare(record);
      break;
    case 1:
      read_sums(checkpoint::parse_or_discard(text));
      break;
    case 2:
      read_stream(text);
      break;
    default:
      cli::refusal_message(std::string(text));
  }
  return 0;
}
