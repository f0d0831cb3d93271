// Proposer: its guesses beside a plain search, what it learns, and what it costs.
#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "tests/support/random.h"

namespace updraft::engine {
namespace {

using test::Random;

const SpeculationOptions kEager = {.most = 12, .shortest = 2, .step_cost = 0, .row_cost = 0};

// Length of the longest match of the end of ids, by looking everywhere.
int64_t longest_match(const std::vector<int32_t>& ids) {
  int64_t best = 0;
  for (size_t place = 1; place < ids.size(); ++place) {
    int64_t length = 0;
    while (length < int64_t(place) && ids[place - 1 - size_t(length)] == ids[ids.size() - 1 - size_t(length)]) ++length;
    best = std::max(best, length);
  }
  return best;
}

int64_t places_of_last_pair(const std::vector<int32_t>& ids) {
  int64_t places = 0;
  for (size_t place = 2; place < ids.size() && ids.size() >= 2; ++place)
    places += ids[place - 1] == ids[ids.size() - 1] && ids[place - 2] == ids[ids.size() - 2] ? 1 : 0;
  return places;
}

// Whether `proposed` is what followed some earlier place that matches the last `length` ids.
bool follows(const std::vector<int32_t>& ids, const std::vector<int32_t>& proposed, int64_t length) {
  for (size_t place = size_t(length); place < ids.size(); ++place) {
    std::vector<int32_t> all = ids;
    bool equal = true;
    for (size_t i = 0; i < size_t(length) && equal; ++i) equal = ids[place - 1 - i] == ids[ids.size() - 1 - i];
    for (size_t i = 0; i < proposed.size() && equal; ++i) {
      equal = proposed[i] == all[place + i];
      all.push_back(proposed[i]);
    }
    if (equal) return true;
  }
  return false;
}

std::vector<int32_t> random_ids(Random& random, int64_t count, int64_t vocabulary) {
  std::vector<int32_t> ids;
  while (int64_t(ids.size()) < count) {
    if (ids.size() > 4 && random.chance(0.1)) {  // says something again
      const int64_t from = random.integer(0, int64_t(ids.size()) - 1);
      for (int64_t i = 0; i < random.integer(2, 30); ++i) ids.push_back(ids[size_t(from + i)]);
    } else {
      ids.push_back(int32_t(random.integer(0, vocabulary - 1)));
    }
  }
  ids.resize(size_t(count));
  return ids;
}

TEST(Speculation, ProposesWhatFollowedTheLongestMatch) {
  Random random(1);
  int guesses = 0;
  for (int trace = 0; trace < 300; ++trace) {
    const std::vector<int32_t> all = random_ids(random, random.integer(1, 300), 200);
    const int64_t prompt = random.integer(1, int64_t(all.size()));
    Proposer proposer(kEager, prompt);
    std::vector<int32_t> proposed;
    for (int64_t end = prompt; end <= int64_t(all.size()); end += random.integer(1, 5)) {
      const std::vector<int32_t> ids(all.begin(), all.begin() + end);
      proposer.propose(ids, 12, 1, proposed);
      if (places_of_last_pair(ids) > 32) continue;  // more than are looked at
      const int64_t length = longest_match(ids);
      if (length < 2) {
        EXPECT_TRUE(proposed.empty());
        continue;
      }
      ASSERT_EQ(proposed.size(), 12u);
      ASSERT_TRUE(follows(ids, proposed, std::min<int64_t>(length, 32))) << "trace " << trace << ", " << end << " ids";
      ++guesses;
    }
  }
  EXPECT_GT(guesses, 100);
}

TEST(Speculation, IsAFunctionOfTheIdsAndNotOfTheCalls) {
  Random random(2);
  for (int trace = 0; trace < 200; ++trace) {
    const std::vector<int32_t> ids = random_ids(random, random.integer(2, 3000), 40);
    const int64_t prompt = random.integer(1, int64_t(ids.size()));
    const int64_t sequences = random.integer(1, 20), most = random.integer(0, 16);
    Proposer at_once({}, prompt), bit_by_bit({}, prompt);
    std::vector<int32_t> expected, proposed;
    at_once.propose(ids, most, sequences, expected);
    ASSERT_LE(int64_t(expected.size()), most);
    for (size_t end = size_t(prompt); end < ids.size(); end += size_t(random.integer(1, 40)))
      bit_by_bit.propose(std::span(ids).first(end), random.integer(0, 20), random.integer(1, 9), proposed);
    bit_by_bit.propose(ids, most, sequences, proposed);
    ASSERT_EQ(proposed, expected);
  }
}

TEST(Speculation, LearnsWhetherTheTextRepeats) {
  Random random(3);
  std::vector<int32_t> proposed;
  const auto share_of_steps = [&](const std::vector<int32_t>& ids) {  // in which something is proposed, after a while
    Proposer proposer({}, 100);
    int64_t steps = 0;
    for (size_t end = 300; end < ids.size(); ++end) {
      proposer.propose(std::span(ids).first(end), 16, 1, proposed);
      steps += proposed.empty() ? 0 : 1;
    }
    return double(steps) / double(ids.size() - 300);
  };
  // Pairs come again all the time and tell nothing about what follows.
  std::vector<int32_t> noise;
  for (int i = 0; i < 3000; ++i) noise.push_back(int32_t(random.integer(0, 15)));
  EXPECT_LT(share_of_steps(noise), 0.5);
  std::vector<int32_t> refrain;
  for (int i = 0; i < 3000; ++i) refrain.push_back(int32_t(i % 57));
  EXPECT_EQ(share_of_steps(refrain), 1.0);
  Proposer proposer({}, 1);
  proposer.propose(refrain, 100, 1, proposed);
  EXPECT_EQ(proposed.size(), 11u);
  for (size_t i = 0; i < proposed.size(); ++i) EXPECT_EQ(proposed[i], int32_t((3000 + i) % 57));
}

TEST(Speculation, ManySequencesProposeLess) {
  std::vector<int32_t> proposed, ids;
  for (int i = 0; i < 40; ++i) ids.push_back(int32_t(i));
  ids.insert(ids.end(), {0, 1});  // a short match, no surer than one guess in five
  size_t before = 100;
  for (int64_t sequences : {1, 4, 16, 64}) {
    Proposer proposer({.step_cost = 0}, int64_t(ids.size()));
    proposer.propose(ids, 16, sequences, proposed);
    EXPECT_LE(proposed.size(), before);
    before = proposed.size();
  }
  EXPECT_EQ(before, 0u);
}

TEST(Speculation, CostsMicrosecondsAtAnyLength) {
  Random random(4);
  const std::vector<int32_t> ids = random_ids(random, 64 * 1024, 500);
  std::vector<int32_t> proposed;
  Proposer proposer({}, 32 * 1024);
  proposer.propose(std::span(ids).first(32 * 1024), 15, 1, proposed);
  const auto start = std::chrono::steady_clock::now();
  for (size_t end = 32 * 1024 + 1; end <= ids.size(); ++end)
    proposer.propose(std::span(ids).first(end), 15, 1, proposed);
  const double each = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / (32 * 1024);
  RecordProperty("nanoseconds", int(each * 1e9));
  EXPECT_LT(each, 200e-6) << "far above the microsecond it takes: the work grows with the length";
}

}  // namespace
}  // namespace updraft::engine
