#include "engine/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

namespace updraft::engine {
namespace {

constexpr int32_t kMostAnswers = 1024;

bool all_known(std::span<const int32_t> ids, int64_t vocabulary) {
  return std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id >= 0 && id < vocabulary; });
}

// NaN fails every comparison, so each condition is the one that must hold.
std::string refuse_sampling(const SamplingParameters& p, int64_t vocabulary) {
  if (!(p.temperature >= 0 && std::isfinite(p.temperature))) {
    return fmt::format("temperature is {}; it must be a finite number of at least 0.", p.temperature);
  }
  if (p.top_k < 0) return fmt::format("top_k is {}; it must be at least 0 (0: off).", p.top_k);
  const auto fraction = [](float x) { return x >= 0 && x <= 1; };
  if (!fraction(p.top_p)) return fmt::format("top_p is {}; it must lie in [0, 1].", p.top_p);
  if (!fraction(p.min_p)) return fmt::format("min_p is {}; it must lie in [0, 1].", p.min_p);
  if (!(p.typical_p > 0 && p.typical_p <= 1)) {
    return fmt::format("typical_p is {}; it must lie in (0, 1].", p.typical_p);
  }
  if (!(p.epsilon_cutoff >= 0 && p.epsilon_cutoff < 1)) {
    return fmt::format("epsilon_cutoff is {}; it must lie in [0, 1).", p.epsilon_cutoff);
  }
  if (!(p.eta_cutoff >= 0 && p.eta_cutoff < 1)) {
    return fmt::format("eta_cutoff is {}; it must lie in [0, 1).", p.eta_cutoff);
  }
  if (!(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty))) {
    return fmt::format("repetition_penalty is {}; it must be a finite number above 0.", p.repetition_penalty);
  }
  if (!std::isfinite(p.presence_penalty)) return "presence_penalty must be a finite number.";
  if (!std::isfinite(p.frequency_penalty)) return "frequency_penalty must be a finite number.";
  if (p.no_repeat_ngram_size < 0) {
    return fmt::format("no_repeat_ngram_size is {}; it must be at least 0 (0: off).", p.no_repeat_ngram_size);
  }
  const auto bias_fits = [](float bias) { return bias < HUGE_VALF; };  // neither NaN nor +inf
  for (const auto& ids : p.bad_words) {
    if (ids.empty() || !all_known(ids, vocabulary)) {
      return fmt::format("bad_words has an empty entry or an id outside the vocabulary of {}.", vocabulary);
    }
  }
  for (const auto& [ids, bias] : p.sequence_bias) {
    if (ids.empty() || !all_known(ids, vocabulary)) {
      return fmt::format("sequence_bias has an empty entry or an id outside the vocabulary of {}.", vocabulary);
    }
    if (!bias_fits(bias)) return fmt::format("sequence_bias has the value {}; it must be a number below inf.", bias);
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || id >= vocabulary) {
      return fmt::format("logit_bias names id {}, outside the vocabulary of {}.", id, vocabulary);
    }
    if (!bias_fits(bias)) return fmt::format("logit_bias has the value {}; it must be a number below inf.", bias);
  }
  return {};
}

}  // namespace

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    case FinishReason::kError:
      return "error";
  }
  return "none";
}

std::string refuse(const Request& request, int64_t vocabulary, int64_t max_context) {
  const int64_t prompt_tokens = int64_t(request.ids.size());
  if (request.ids.empty()) return "The prompt is empty; it needs at least one token (BOS, where the model has one).";
  if (!all_known(request.ids, vocabulary)) {
    const auto wrong =
        std::find_if(request.ids.begin(), request.ids.end(), [&](int32_t id) { return id < 0 || id >= vocabulary; });
    return fmt::format("The prompt holds id {}, outside the vocabulary of {}.", *wrong, vocabulary);
  }
  if (request.max_new_tokens && *request.max_new_tokens < 0) {
    return fmt::format("max_new_tokens is {}; it must be at least 0.", *request.max_new_tokens);
  }
  if (request.min_new_tokens < 0) {
    return fmt::format("min_new_tokens is {}; it must be at least 0.", request.min_new_tokens);
  }
  if (request.n < 1 || request.n > kMostAnswers) {
    return fmt::format("n is {}; it must lie in 1..{}.", request.n, kMostAnswers);
  }
  const int64_t context = std::min(request.context.value_or(max_context), max_context);
  if (prompt_tokens > context) {
    return fmt::format("The prompt has {} tokens, more than the context of {}; shorten it or raise --context.",
                       prompt_tokens, context);
  }
  // A context of its own caps the answer; without one, what was asked for must fit.
  if (!request.context && request.max_new_tokens.value_or(0) > max_context - prompt_tokens) {
    return fmt::format("{} prompt tokens and max_new_tokens {} are more than the context of {}; raise --context.",
                       prompt_tokens, *request.max_new_tokens, max_context);
  }
  return refuse_sampling(request.sampling, vocabulary);
}

}  // namespace updraft::engine
