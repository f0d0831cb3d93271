// Evaluation of a model on a text: perplexity, bits per byte, and against a reference (the same model in F32, or
// another one with the same vocabulary) the mean KL divergence and how often both find the same token the most likely.
// The text goes through in windows; only one window's logits are ever in memory. After each turn the sums can be saved,
// so that a run that was stopped goes on where it was and ends with the same bits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "session/session.h"

namespace updraft::measure {

// The ids of a text that are computed together, [begin, end), of which [scored, end) are scored: those that no window
// before has scored and that have something before them.
struct EvaluationWindow {
  int64_t begin = 0, end = 0, scored = 0;
  bool operator==(const EvaluationWindow&) const = default;
};
// length: ids of a window; stride: from one window's begin to the next one's, at most length. prefixed: a token (BOS)
// stands before each window, so that its first id has something before it too.
std::vector<EvaluationWindow> plan_windows(int64_t ids, int64_t length, int64_t stride, bool prefixed);

struct EvaluationText {
  std::string path;
  uint64_t hash = 0;            // of the bytes of the file
  std::vector<int32_t> prefix;  // put before every window: BOS, where the tokenizer puts one
  std::vector<int32_t> ids;     // without it
  std::vector<int32_t> bytes;   // that each id adds to the text
};
// max_tokens 0: all of it. Throws Error for a file that cannot be read, is no UTF-8 or has fewer than two tokens.
EvaluationText read_evaluation_text(const std::string& path, const text::Tokenizer&, int64_t max_tokens);

// Without a token before it (BOS) a window of one token would score nothing.
inline constexpr int64_t kLeastTextOfWindow = 2;

using SessionLoader = std::function<std::unique_ptr<session::Session>(const session::LoadOptions&)>;

struct EvaluationOptions {
  session::LoadOptions model;
  std::optional<session::LoadOptions> reference;  // none: no comparison
  int64_t context = 512;    // tokens of a window: the prefix, and at least kLeastTextOfWindow of text
  int64_t stride = 0;       // at most context; 0, or more than a window has of the text: windows side by side
  bool take_turns = false;  // never hold both models; done by itself when memory is too short for both
  std::string state_path;   // where the sums are kept; "": nowhere
};

struct Evaluation {
  nlohmann::ordered_json report;
  bool finished = true;  // false: interrupted; what was not done of a window counts for nothing
};

// Throws Error when a model cannot be loaded, the two do not fit together, or the state belongs to another evaluation.
Evaluation evaluate(const EvaluationOptions&, const EvaluationText&, const SessionLoader&, const ProgressCallback&,
                    const std::atomic<bool>& interrupted);

}  // namespace updraft::measure
