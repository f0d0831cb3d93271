#include "hub/source_pool.h"

#include <algorithm>
#include <cmath>

namespace updraft::hub {
namespace {

constexpr int64_t kRealProgress = 64 << 10;  // a server that gives so much works
constexpr int kMostIgnoredRanges = 3;
constexpr int kMostWaits = 20;  // 429s in a row

}  // namespace

SourcePool::SourcePool(std::vector<Source> sources, const Patience& patience) : patience_(patience) {
  for (Source& source : sources) {
    State state;
    state.source = std::move(source);
    states_.push_back(std::move(state));
  }
}

void SourcePool::drop(int i, const HubError& error) {
  states_[size_t(i)].dropped = true;
  states_[size_t(i)].last = error;
}

void SourcePool::drop_liar(int i, const HubError& error) {
  drop(i, error);
  states_[size_t(i)].lied = true;
}

std::string SourcePool::failed(int i, const FetchError& failure, bool progressed, Clock::time_point fetch_started) {
  State& state = states_[size_t(i)];
  const HubError& error = failure.error;
  state.last = error;
  switch (error.refusal()) {
    case Refusal::kTooManyRequests: {
      const double wait = failure.wait_s.value_or(patience_.backoff_s * 8);
      if (wait > patience_.longest_wait_s || ++state.waits > kMostWaits) {
        state.dropped = true;
        return fmt::format("{}; it asks to wait {:.0f} s, so it is left out of this run", error.what(), wait);
      }
      const bool news = after(wait) > state.ready_at + std::chrono::seconds(1);
      state.ready_at = std::max(state.ready_at, after(wait));
      return news && wait >= 1 ? fmt::format("{}; waiting {:.0f} s as it asks", error.what(), wait) : "";
    }
    case Refusal::kCertificate: {
      const bool news = !state.dropped;
      state.dropped = true;
      return news ? fmt::format("{}; left out of this run", error.what()) : "";
    }
    case Refusal::kNetwork: {
      if (progressed && !failure.slow) {
        state.failures = 0;
        return "";
      }
      if (fetch_started < state.last_failure) return "";  // eight connections refused at once are one failure
      state.last_failure = Clock::now();
      ++state.failures;
      const double pause =
          std::min(patience_.backoff_s * std::pow(2.0, state.failures - 1), patience_.longest_backoff_s);
      state.ready_at = std::max(state.ready_at, after(std::max(pause, failure.wait_s.value_or(0.0))));
      if (state.failures < patience_.attempts) return "";
      const bool news = !state.dropped;
      state.dropped = true;
      return news ? fmt::format("{}; given up after {} tries", error.what(), state.failures) : "";
    }
    default:
      return "";  // this file only
  }
}

void SourcePool::ignored_range(int i) {
  if (++states_[size_t(i)].ignored_ranges >= kMostIgnoredRanges) states_[size_t(i)].ranges = false;
  cool_down(i);
}

void SourcePool::succeeded(int i, int64_t bytes, bool ranged, bool kept) {
  State& state = states_[size_t(i)];
  if (ranged) state.ignored_ranges = 0;
  state.bytes += bytes;
  if (bytes > 0) state.waits = 0;
  if (bytes >= kRealProgress && kept) state.failures = 0;
}

bool SourcePool::offers_file(int i, const std::string& path) const {
  const State& state = states_[size_t(i)];
  return !state.offers || state.offers->contains(path);
}

HubError SourcePool::summary(const std::string& path, const std::map<int, HubError>& of_this_file) const {
  std::optional<Refusal> refusal;
  std::string sentences;
  for (int i = 0; i < size(); ++i) {
    const auto found = of_this_file.find(i);
    const std::optional<HubError> error =
        found != of_this_file.end() ? std::optional(found->second) : states_[size_t(i)].last;
    if (!error) continue;
    if (!refusal || *refusal == Refusal::kNetwork) refusal = error->refusal();
    if (sentences.find(error->what()) == std::string::npos)
      sentences += (sentences.empty() ? "" : "; ") + std::string(error->what());
  }
  if (sentences.empty()) sentences = "none of the sources holds it";
  return {
      refusal.value_or(Refusal::kNoFile),
      fmt::format("{} could not be fetched: {}. What is there is kept: the same command continues", path, sentences)};
}

}  // namespace updraft::hub
