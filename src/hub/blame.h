// Blame: who sent wrong bytes, when a file's hash is wrong. A liar among honest sources costs at most one refetch of
// the file: a version wholly from one source tells whether that one lied, and the bytes of the others stay aside until
// then, so that those of honest sources are not fetched again.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "hub/job.h"

namespace updraft::hub {

using Tell = std::function<void(const std::string& sentence)>;

// Which of the bytes whose hash is wrong the next attempt begins with; the rest is fetched.
struct Verdict {
  enum Keep { kNothing, kOfThese, kOfTheVersionAside } keep = kNothing;
  std::function<bool(int source)> trusted;
};

// In this order, while nobody else is at the job (held); only judge() and acquit() need Transfer's lock.
void remember_suspects(Job&);
// Drops the liar when it is known. Throws HubError kWrongHash when no source is left to take the file from.
Verdict judge(Job&, SourcePool&, const std::string& wrong_hash, const Tell&);
void carry_out(const Verdict&, Job&);

// The hash is right: the sources that sent something else before, and what that means for all.
std::set<int> unmasked(const Job&);
void acquit(const Job&, SourcePool&, const std::set<int>& liars, const Tell&);

}  // namespace updraft::hub
