#include "engine/sampler.h"

#include <algorithm>
#include <limits>
#include <map>

namespace updraft::engine {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

bool is_eos(const Request& request, int32_t id) {
  return std::find(request.eos_ids.begin(), request.eos_ids.end(), id) != request.eos_ids.end();
}

}  // namespace

uint64_t NgramIndex::hash(std::span<const int32_t> context) const {
  uint64_t h = 0x9E3779B97F4A7C15u;
  for (int32_t id : context) h = ((h ^ uint32_t(id)) * 0xFF51AFD7ED558CCDu) ^ (h >> 29);
  return h;
}

void NgramIndex::append(std::span<const int32_t> ids, int64_t last) {
  const int64_t begin = last - (n_ - 1);
  if (begin < 0) return;
  const auto context = ids.subspan(size_t(begin), size_t(n_ - 1));
  std::vector<Entry>& entries = by_hash_[hash(context)];
  auto entry = std::find_if(entries.begin(), entries.end(), [&](const Entry& known) {
    return std::equal(context.begin(), context.end(), ids.begin() + known.begin);
  });
  if (entry == entries.end()) entry = entries.insert(entry, Entry{begin, {}});
  auto place = std::lower_bound(entry->next.begin(), entry->next.end(), ids[size_t(last)]);
  if (place == entry->next.end() || *place != ids[size_t(last)]) entry->next.insert(place, ids[size_t(last)]);
}

std::span<const int32_t> NgramIndex::continuations(std::span<const int32_t> ids) const {
  if (int64_t(ids.size()) < n_ - 1) return {};
  const auto context = ids.last(size_t(n_ - 1));
  auto found = by_hash_.find(hash(context));
  if (found == by_hash_.end()) return {};
  for (const Entry& entry : found->second) {
    if (std::equal(context.begin(), context.end(), ids.begin() + entry.begin)) return entry.next;
  }
  return {};
}

Sampler::Sampler(const Request& request, int32_t answer)
    : request_(request), ngrams_(std::max<int64_t>(1, request.sampling.no_repeat_ngram_size)) {
  const SamplingParameters& p = request.sampling;
  rules_.seed = p.seed + uint64_t(answer);
  rules_.top_logprobs = p.top_logprobs;
  rules_.repetition_penalty = p.repetition_penalty;
  rules_.presence_penalty = p.presence_penalty;
  rules_.frequency_penalty = p.frequency_penalty;
  counts_ = p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0;
  if (p.do_sample) {
    rules_.temperature = p.temperature;
    rules_.top_k = p.top_k;
    rules_.top_p = p.top_p;
    rules_.min_p = p.min_p;
    rules_.typical_p = p.typical_p;
    rules_.epsilon_cutoff = p.epsilon_cutoff;
    rules_.eta_cutoff = p.eta_cutoff;
  }
  add_static_rules();
}

void Sampler::add_static_rules() {
  const SamplingParameters& p = request_.sampling;
  // Of equal phrases the last one counts, as in transformers' dictionary.
  std::map<std::vector<int32_t>, float> by_phrase;
  for (const auto& [ids, bias] : p.sequence_bias) by_phrase[ids] = bias;
  std::map<int32_t, float> by_id;
  for (const auto& [ids, bias] : by_phrase) {
    if (ids.size() == 1) {
      by_id[ids[0]] = bias;
    } else {
      phrases_.push_back({ids, bias});
    }
  }
  for (const auto& [id, bias] : p.logit_bias) by_id[id] += bias;
  for (int32_t id : p.suppressed_ids) by_id[id] = kForbidden;
  for (const std::vector<int32_t>& ids : p.bad_words) {
    if (ids.size() > 1) {
      phrases_.push_back({ids, kForbidden});
    } else if (!is_eos(request_, ids[0])) {  // transformers: end-of-sequence alone is never a bad word
      by_id[ids[0]] = kForbidden;
    }
  }
  if (request_.ignore_eos) {
    for (int32_t id : request_.eos_ids) by_id[id] = kForbidden;
  }
  for (const auto& [id, bias] : by_id) biases_.push_back({id, bias});
  static_biases_ = biases_.size();
}

void Sampler::count(int32_t id, bool generated) {
  auto [place, fresh] = seen_index_.try_emplace(id, int32_t(seen_.size()));
  if (fresh) seen_.push_back({id, 0});
  seen_[size_t(place->second)].generated += generated;
}

void Sampler::take_in(std::span<const int32_t> ids) {
  const bool ngrams = request_.sampling.no_repeat_ngram_size > 0;
  const int64_t prompt_tokens = int64_t(request_.ids.size());
  if (counts_ || ngrams) {
    for (int64_t i = taken_; i < int64_t(ids.size()); ++i) {
      if (counts_) count(ids[size_t(i)], i >= prompt_tokens);
      if (ngrams) ngrams_.append(ids, i);
    }
  }
  taken_ = int64_t(ids.size());
}

void Sampler::add(int32_t id, float bias) {
  const auto begin = biases_.begin(), end = begin + int64_t(static_biases_);
  auto place = std::lower_bound(begin, end, id, [](const auto& known, int32_t value) { return known.id < value; });
  if (place != end && place->id == id) {
    // Biases of one token are summed first, as transformers does: adding each to the score would round differently.
    changed_.emplace_back(size_t(place - begin), place->value);
    place->value += bias;
    return;
  }
  auto own = std::find_if(end, biases_.end(), [id](const auto& known) { return known.id == id; });
  if (own != biases_.end()) {
    own->value += bias;
  } else {
    biases_.push_back({id, bias});
  }
}

void Sampler::forbid(std::span<const int32_t> ids) {
  // Twice forbidden is harmless, so the search for an equal id is spared.
  for (int32_t id : ids) biases_.push_back({id, kForbidden});
}

compute::SampleRules Sampler::rules(std::span<const int32_t> ids) {
  take_in(ids);
  for (auto change = changed_.rbegin(); change != changed_.rend(); ++change) {
    biases_[change->first].value = change->second;
  }
  changed_.clear();
  biases_.resize(static_biases_);
  const int64_t generated = int64_t(ids.size()) - int64_t(request_.ids.size());
  for (const Phrase& phrase : phrases_) {
    // transformers passes over a phrase that is longer than the ids so far, even where its beginning would fit.
    if (phrase.ids.size() > ids.size()) continue;
    const auto tail = ids.last(phrase.ids.size() - 1);
    if (std::equal(tail.begin(), tail.end(), phrase.ids.begin())) add(phrase.ids.back(), phrase.bias);
  }
  if (request_.sampling.no_repeat_ngram_size > 0) forbid(ngrams_.continuations(ids));
  if (generated < request_.min_new_tokens) forbid(request_.eos_ids);
  if (generated == 0) forbid(request_.sampling.begin_suppressed_ids);
  rules_.position = ids.size();
  rules_.biases = biases_;
  rules_.seen = seen_;
  return rules_;
}

bool Sampler::sees_ahead(std::span<const int32_t> ids) const {
  const int64_t generated = int64_t(ids.size()) - int64_t(request_.ids.size());
  return phrases_.empty() && request_.sampling.no_repeat_ngram_size == 0 && generated >= request_.min_new_tokens &&
         (generated > 0 || request_.sampling.begin_suppressed_ids.empty());
}

void Sampler::rules_ahead(std::span<const int32_t> ids, std::span<const int32_t> proposed,
                          std::vector<compute::SampleRules>& out) {
  if (seen_ahead_.size() < proposed.size()) seen_ahead_.resize(proposed.size());
  for (size_t n = 1; n <= proposed.size(); ++n) {
    compute::SampleRules rules = rules_;
    rules.position = ids.size() + n;
    if (counts_) {
      std::vector<compute::SampleRules::Seen>& seen = seen_ahead_[n - 1];
      seen = n == 1 ? seen_ : seen_ahead_[n - 2];
      const int32_t id = proposed[n - 1];
      auto known = std::find_if(seen.begin(), seen.end(), [id](const auto& one) { return one.id == id; });
      if (known == seen.end()) known = seen.insert(known, {id, 0});
      ++known->generated;
      rules.seen = seen;
    }
    out.push_back(rules);
  }
}

}  // namespace updraft::engine
