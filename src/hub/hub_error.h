// HubError: why a pull did not happen, with the host that said what. Each kind has its own sentence and its own exit
// code of `updraft pull` (docs/pull.md has the table); codes never change their meaning.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace updraft::hub {

enum class Refusal {
  kNetwork = 10,          // no answer, cut, stalled: after all tries on all sources
  kNoRepository = 11,     // 404 RepoNotFound
  kNoRevision = 12,       // 404 RevisionNotFound
  kNoFile = 13,           // 404 EntryNotFound, or nothing is left after --include and --exclude
  kUnauthorized = 14,     // 401
  kGated = 15,            // 403: the terms are not accepted
  kTooManyRequests = 16,  // 429, longer than one may wait
  kNotTheFile = 17,       // an HTML page or an LFS pointer where weights should be
  kWrongSize = 18,
  kWrongHash = 19,
  kCompressed = 20,      // gzip on a range
  kNoRanges = 21,        // 200 in reply to a range, and no way to restart
  kRangeRefused = 22,    // 416
  kRedirects = 23,       // a loop, too many, or from https to http
  kUnsafeName = 24,      // a name that leaves the folder
  kTokenElsewhere = 25,  // a token that would be sent to another host
  kCertificate = 26,
  kDisk = 27,        // full, read-only, or failing
  kOffline = 28,     // --offline, and not in the cache
  kBadListing = 29,  // an answer that is no listing
  kInterrupted = 130,
};

class HubError : public Error {
 public:
  HubError(Refusal refusal, const std::string& sentence) : Error(sentence), refusal_(refusal) {}
  Refusal refusal() const { return refusal_; }
  int exit_code() const { return int(refusal_); }

 private:
  Refusal refusal_;
};

template <class... Arguments>
[[noreturn]] void refuse(Refusal refusal, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  throw HubError(refusal, fmt::format(text, std::forward<Arguments>(arguments)...));
}

}  // namespace updraft::hub
