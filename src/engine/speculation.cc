#include "engine/speculation.h"

#include <algorithm>

#include "base/check.h"

namespace updraft::engine {
namespace {

constexpr int64_t kLongest = 32;        // ids compared; a longer match is no surer
constexpr int kPlaces = 32;             // earlier places looked at for one id
constexpr double kNewest = 1.0 / 8;     // weight of the latest guess in its class's rate
constexpr size_t kFirstBuckets = 1024;  // grows with the sequence

}  // namespace

int Proposer::class_of(int64_t length) {
  constexpr int64_t kAtLeast[] = {2, 3, 5, 9, 16};
  int index = 0;
  for (int64_t least : kAtLeast) index += length > least ? 1 : 0;
  return index;
}

Proposer::Proposer(const SpeculationOptions& options, int64_t prompt_tokens)
    : options_(options), prompt_tokens_(prompt_tokens), rates_{0.2, 0.35, 0.5, 0.65, 0.8, 0.9} {
  CHECK(options.shortest >= 1 && options.shortest <= kLongest) << options.shortest;
}

size_t Proposer::bucket(std::span<const int32_t> ids) const {
  uint64_t hash = 0x9E3779B97F4A7C15u;
  for (int32_t id : ids.last(size_t(options_.shortest))) hash = (hash ^ uint32_t(id)) * 0xFF51AFD7ED558CCDu;
  return size_t(hash >> 32) & (latest_.size() - 1);
}

// Makes the end of `ids` a place that later ids may match.
void Proposer::remember(std::span<const int32_t> ids) {
  previous_.resize(ids.size() + 1);
  if (ids.size() < size_t(options_.shortest)) return;
  int32_t& latest = latest_[bucket(ids)];
  previous_[ids.size()] = latest;
  latest = int32_t(ids.size());
}

// The longest match of the end of `ids`; of equal ones `continued`, then the latest. `continued`: what the match before
// the last id has become.
Proposer::Match Proposer::find(std::span<const int32_t> ids, const Match& continued) const {
  Match best = continued;
  if (best.length >= kLongest || int64_t(ids.size()) < options_.shortest) return best;
  int32_t place = latest_[bucket(ids)];
  for (int looked = 0; place > 0 && looked < kPlaces; ++looked, place = previous_[size_t(place)]) {
    const int64_t most = std::min<int64_t>(place, kLongest);
    int64_t length = 0;
    while (length < most && ids[size_t(place - 1 - length)] == ids[ids.size() - 1 - size_t(length)]) ++length;
    if (length >= options_.shortest && length > best.length) best = {place, length};
    if (length == kLongest) break;
  }
  return best;
}

void Proposer::take_in(std::span<const int32_t> ids) {
  if (ids.size() > latest_.size()) {  // again from the beginning, with room for twice as many
    size_t buckets = std::max(latest_.size(), kFirstBuckets);
    while (buckets < ids.size()) buckets *= 2;
    latest_.assign(buckets, 0);
    previous_.clear();
    for (int64_t end = 1; end <= taken_; ++end) remember(ids.first(size_t(end)));
  }
  for (; taken_ < int64_t(ids.size()); ++taken_) {
    const int32_t id = ids[size_t(taken_)];
    const auto so_far = ids.first(size_t(taken_ + 1));
    Match continued;
    if (match_.length > 0) {
      // Rates are learnt from every guess that could have been made, so that learning costs no rows.
      const bool right = ids[size_t(match_.next)] == id;
      double& rate = rates_[size_t(class_of(match_.length))];
      rate += ((right ? 1.0 : 0.0) - rate) * kNewest;
      if (right) continued = {match_.next + 1, match_.length + 1};
    }
    if (taken_ + 1 >= prompt_tokens_) match_ = find(so_far, continued);
    remember(so_far);
  }
}

void Proposer::propose(std::span<const int32_t> ids, int64_t most, int64_t sequences, std::vector<int32_t>& out) {
  out.clear();
  take_in(ids);
  if (match_.length == 0) return;
  // Tokens that the step's time would have brought without these rows: its sequences, each one a step.
  const double steps = double(sequences) / (1 + options_.row_cost * double(sequences - 1));
  double reached = 1, gain = sequences > 1 ? 0 : -options_.step_cost, best_gain = 0;
  int64_t best = 0;
  for (int64_t n = 1; n <= std::min(most, options_.most); ++n) {
    reached *= rates_[size_t(class_of(match_.length + n - 1))];
    gain += reached - options_.row_cost * steps;
    if (gain > best_gain) best_gain = gain, best = n;
  }
  for (int64_t i = 0; i < best; ++i) {  // a match that reaches the end goes on with what was just proposed
    const size_t at = size_t(match_.next + i);
    out.push_back(at < ids.size() ? ids[at] : out[at - ids.size()]);
  }
}

}  // namespace updraft::engine
