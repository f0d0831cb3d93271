#include "hub/blame.h"

#include <algorithm>

namespace updraft::hub {
namespace {

constexpr int64_t kWitnessBytes = 1 << 20;  // a source that gave so much of a right file is trusted more

// The source whose version of the file comes next: gave right files before, gave most of this one, comes first.
int most_trusted(const Job& job, const SourcePool& pool) {
  int best = -1;
  const auto rank = [&](int source) {
    return std::pair(pool.verified_bytes(source) >= kWitnessBytes, job.bytes_from(source));
  };
  for (int i = 0; i < pool.size(); ++i)
    if (!pool.dropped(i) && !job.banned.contains(i) && pool.offers_file(i, job.path()))
      if (best < 0 || rank(i) > rank(best)) best = i;
  return best;
}

bool has_bytes_of(const std::vector<Segment>& segments, int source) {
  return std::any_of(segments.begin(), segments.end(), [&](const Segment& s) { return s.source == source; });
}

void drop_liar(int liar, SourcePool& pool, const std::string& why, const Tell& tell) {
  const std::string sentence = fmt::format("{} sent wrong bytes: {}", pool.source(liar).name(), why);
  pool.drop_liar(liar, HubError(Refusal::kWrongHash, sentence));
  tell(sentence + "; it is left out of this run");
}

}  // namespace

void remember_suspects(Job& job) {
  if (job.givers().size() < 2) return;
  for (Segment segment : job.segments) {
    segment.sha256 = segment_digest(*job.part, segment);
    job.suspects.push_back(std::move(segment));
  }
}

Verdict judge(Job& job, SourcePool& pool, const std::string& wrong_hash, const Tell& tell) {
  const std::set<int> givers = job.givers();
  const std::string sentence =
      fmt::format("the hash of {} is {}, but the listing says {}", job.path(), wrong_hash, job.etag());
  const bool one = givers.size() == 1 && *givers.begin() != kKept;
  const int liar = one ? *givers.begin() : kKept;
  if (one) {
    drop_liar(liar, pool, sentence, tell);
    job.errors.insert_or_assign(liar, *pool.last_error(liar));
  }
  const int best = most_trusted(job, pool);
  if (best < 0)
    throw HubError(Refusal::kWrongHash, fmt::format("{}, and there is no other source to take it from: {}", sentence,
                                                    pool.summary(job.path(), job.errors).what()));
  const auto honest = [&pool](int source) { return source == kKept || !pool.lied(source); };
  const bool known = std::any_of(givers.begin(), givers.end(), [&](int source) { return !honest(source); });
  job.only_source = -1;
  // The liar's version is known now, and it was part of the one before: that one without the liar.
  if (one && job.part->has_aside() && has_bytes_of(job.aside, liar)) return {Verdict::kOfTheVersionAside, honest};
  if (!one && known) {
    tell(sentence + "; what the source that sent wrong bytes gave of it comes again");
    return {Verdict::kOfThese, honest};
  }
  job.only_source = best;
  if (one) return {};
  tell(fmt::format("{}; the file comes again, wholly from {}", sentence, pool.source(best).name()));
  return {Verdict::kOfThese, [best](int source) { return source == best; }};
}

void carry_out(const Verdict& verdict, Job& job) {
  switch (verdict.keep) {
    case Verdict::kNothing:
      job.part->drop_aside();
      return job.restart();
    case Verdict::kOfThese:
      return job.begin_again_with(verdict.trusted);
    case Verdict::kOfTheVersionAside:
      return job.rebuild_with(verdict.trusted);
  }
}

std::set<int> unmasked(const Job& job) {
  std::set<int> liars;
  for (const Segment& suspect : job.suspects)
    if (suspect.source != kKept && segment_digest(*job.part, suspect) != suspect.sha256) liars.insert(suspect.source);
  return liars;
}

void acquit(const Job& job, SourcePool& pool, const std::set<int>& liars, const Tell& tell) {
  for (const int liar : liars)
    if (!pool.lied(liar)) drop_liar(liar, pool, "its part of " + job.path() + " differs from the file", tell);
  for (const Segment& segment : job.segments)
    if (segment.source != kKept) pool.verified(segment.source, segment.end - segment.begin);
}

}  // namespace updraft::hub
