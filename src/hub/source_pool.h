// SourcePool: the sources of one run and how each is doing. Not thread-safe: transfer.cc guards it with its own lock.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hub/transfer.h"

namespace updraft::hub {

using Clock = std::chrono::steady_clock;

// A failure of one fetch, and what the host asked for.
struct FetchError {
  HubError error;
  std::optional<double> wait_s;  // 429 or 503 with Retry-After
  bool slow = false;             // a stall: progress does not excuse it
};

class SourcePool {
 public:
  SourcePool(std::vector<Source>, const Patience&);

  int size() const { return int(states_.size()); }
  const Source& source(int i) const { return states_[size_t(i)].source; }
  Source& source(int i) { return states_[size_t(i)].source; }
  bool dropped(int i) const { return states_[size_t(i)].dropped; }
  bool ranges(int i) const { return states_[size_t(i)].ranges; }
  Clock::time_point ready_at(int i) const { return states_[size_t(i)].ready_at; }
  // One 200 in reply to a range may be a proxy's doing; several in a row mean that the source knows no ranges.
  void ignored_range(int i);
  bool lied(int i) const { return states_[size_t(i)].lied; }
  void drop(int i, const HubError&);
  void drop_liar(int i, const HubError&);

  // What a failure means for the source as a whole. Returns a sentence worth telling, or "".
  std::string failed(int i, const FetchError&, bool progressed, Clock::time_point fetch_started);
  // `kept`: the bytes need not come again.
  void succeeded(int i, int64_t bytes, bool ranged, bool kept);
  void verified(int i, int64_t bytes) { states_[size_t(i)].verified_bytes += bytes; }  // of files whose hash was right
  int64_t verified_bytes(int i) const { return states_[size_t(i)].verified_bytes; }
  void cool_down(int i) {
    states_[size_t(i)].ready_at = std::max(states_[size_t(i)].ready_at, after(patience_.backoff_s));
  }
  int64_t fetched_bytes(int i) const { return states_[size_t(i)].bytes; }
  const std::optional<HubError>& last_error(int i) const { return states_[size_t(i)].last; }

  // Which of its files a source other than the listing one holds; unset: not asked yet.
  std::optional<std::set<std::string>> offers(int i) const { return states_[size_t(i)].offers; }
  void set_offers(int i, std::set<std::string> paths) { states_[size_t(i)].offers = std::move(paths); }
  bool offers_file(int i, const std::string& path) const;

  // One error out of all sources' last ones, for a file that no source can give.
  HubError summary(const std::string& path, const std::map<int, HubError>& of_this_file) const;

 private:
  struct State {
    Source source;
    bool dropped = false, lied = false, ranges = true;
    int failures = 0, waits = 0, ignored_ranges = 0;
    int64_t bytes = 0, verified_bytes = 0;
    Clock::time_point ready_at{}, last_failure{};
    std::optional<HubError> last;
    std::optional<std::set<std::string>> offers;
  };
  static Clock::time_point after(double seconds) {
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  std::vector<State> states_;
  Patience patience_;
};

}  // namespace updraft::hub
