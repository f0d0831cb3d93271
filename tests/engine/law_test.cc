// The law of the house, seen from the engine: what a request answers does not depend, in a single bit, on the requests
// beside it, on chunk sizes, on page reuse, on pre-emption, on speculation, on steps that were left and begun anew.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/engine/small_model.h"

namespace updraft::engine {
namespace {

using test::Random;

Request random_request(Random& random, const std::vector<std::vector<int32_t>>& openings, int64_t max_context) {
  Request request;
  const auto& opening = openings[size_t(random.integer(0, int64_t(openings.size()) - 1))];
  const int64_t kept = random.integer(0, int64_t(opening.size()));
  request.ids.assign(opening.begin(), opening.begin() + kept);
  const int64_t more = random.integer(kept == 0 ? 1 : 0, 12);
  for (int64_t i = 0; i < more; ++i) request.ids.push_back(int32_t(random.integer(0, test::kSmallVocabulary - 1)));
  if (random.chance(0.6)) {
    request.max_new_tokens = random.integer(1, std::min<int64_t>(25, max_context - int64_t(request.ids.size())));
  } else if (random.chance(0.5)) {
    request.context = random.integer(int64_t(request.ids.size()) + 1, max_context);
  }
  if (random.chance(0.4)) request.eos_ids = {int32_t(random.integer(0, 60)), int32_t(random.integer(0, 60)), 7};
  request.n = random.chance(0.25) ? int32_t(random.integer(2, 4)) : 1;
  request.priority = int32_t(random.integer(-1, 1));
  request.speculate = random.chance(0.9);
  if (random.chance(0.2)) request.min_new_tokens = random.integer(0, 9);
  SamplingParameters& sampling = request.sampling;
  sampling.top_logprobs = int32_t(random.integer(0, 2));
  sampling.seed = random.next();
  sampling.do_sample = random.chance(0.6);
  if (random.chance(0.3)) sampling.repetition_penalty = 1.3f;
  if (random.chance(0.3)) sampling.no_repeat_ngram_size = int32_t(random.integer(1, 3));
  if (random.chance(0.2)) sampling.presence_penalty = 0.5f;
  if (random.chance(0.2)) sampling.top_p = 0.9f;
  return request;
}

void expect_equal(const Answer& answer, const std::vector<Token>& expected, const std::string& where) {
  ASSERT_EQ(answer.error.empty(), answer.finish_reason != FinishReason::kError) << where;
  ASSERT_TRUE(answer.error.empty() || answer.error.find("forbid every token") != std::string::npos) << answer.error;
  ASSERT_EQ(answer.tokens.size(), expected.size()) << where << ", " << name(answer.finish_reason);
  ASSERT_EQ(answer.ids.size(), expected.size()) << where;
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(answer.ids[i], expected[i].id) << where << ", token " << i;
    ASSERT_EQ(answer.tokens[i].log_probability, expected[i].log_probability) << where << ", token " << i;
    ASSERT_EQ(answer.tokens[i].top.size(), expected[i].top.size());
    for (size_t j = 0; j < expected[i].top.size(); ++j) {
      ASSERT_EQ(answer.tokens[i].top[j].id, expected[i].top[j].id);
      ASSERT_EQ(answer.tokens[i].top[j].log_probability, expected[i].top[j].log_probability);
    }
  }
}

struct Expected {
  Request request;
  std::vector<std::vector<Token>> answers;
};

class Law : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<compute::Machine> machine(int threads = 1) {
    return compute::make_machine(GetParam(), {.threads = threads, .instruction_set = ""});
  }

  static EngineOptions random_options(Random& random, int64_t max_rows, int64_t max_context, compute::KvType kv) {
    EngineOptions options;
    options.kv_dtype = kv;
    options.max_context = max_context;
    options.kv_tokens = random.chance(0.5) ? max_context : random.integer(max_context, 3 * max_context);
    options.max_rows = max_rows;
    options.max_sequences = random.integer(1, 8);
    options.prefix_reuse = random.chance(0.7);
    options.unbounded_tokens = random.integer(1, 32);
    options.speculation.on = random.chance(0.8);
    if (random.chance(0.8)) {  // as often as possible, right or wrong
      options.speculation = {.shortest = random.integer(1, 2), .step_cost = 0, .row_cost = 0};
      options.speculation.most = random.integer(1, 20);
    }
    if (max_rows == 64) {  // crowded on purpose: who has no limit is pre-empted again and again
      options.kv_tokens = max_context;
      options.max_sequences = 8;
      options.unbounded_tokens = 1;
    }
    return options;
  }

  void run_everywhere(int window, int traces) const;
};

// The same requests through engines of many shapes.
void Law::run_everywhere(int window, int traces) const {
  const int64_t max_context = 96;
  auto alone = machine();
  const model::Decoder alone_decoder = test::make_small_model(*alone, {.window = window});
  Random random(uint64_t(window) + 1);
  int64_t preemptions = 0, hits = 0, proposed = 0, accepted = 0;
  for (int trace = 0; trace < traces; ++trace) {
    const compute::KvType kv = compute::kKvTypes[random.integer(0, 2)];
    std::vector<std::vector<int32_t>> openings(3);
    for (auto& opening : openings) {
      for (int i = 0; i < 50; ++i) opening.push_back(int32_t(random.integer(0, test::kSmallVocabulary - 1)));
    }
    std::vector<Expected> all(size_t(random.integer(4, 10)));
    for (Expected& one : all) {
      one.request = random_request(random, openings, max_context);
      for (int32_t i = 0; i < one.request.n; ++i) {
        one.answers.push_back(test::expected_tokens(*alone, alone_decoder, one.request, i, kv, max_context));
      }
    }
    for (int64_t max_rows : {1, 2, 7, 64}) {
      auto own = machine(trace % 4 == 0 ? 2 : 1);
      model::Decoder decoder = test::make_small_model(*own, {.window = window});
      Engine engine(std::move(own), std::move(decoder), random_options(random, max_rows, max_context, kv));
      std::map<RequestId, const Expected*> submitted;
      size_t next = 0;
      while (next < all.size() || !engine.idle()) {
        while (next < all.size() && (engine.idle() || random.chance(0.3))) {
          submitted[engine.submit(all[next].request)] = &all[next];
          ++next;
        }
        engine.step([&](int64_t) { return !random.chance(0.1); });
      }
      for (const auto& [id, expected] : submitted) {
        const std::vector<Answer> answers = engine.take(id);
        ASSERT_EQ(answers.size(), expected->answers.size());
        for (size_t i = 0; i < answers.size(); ++i) {
          expect_equal(answers[i], expected->answers[i],
                       fmt::format("trace {}, max_rows {}, request {}, answer {}", trace, max_rows, id, i));
        }
      }
      const EngineStatistics statistics = engine.statistics();
      EXPECT_EQ(statistics.pages_free + statistics.pages_cached, statistics.pages_total);
      preemptions += statistics.preemptions;
      hits += statistics.prefix_hit_tokens;
      proposed += statistics.proposed_tokens;
      accepted += statistics.accepted_tokens;
    }
  }
  EXPECT_GT(preemptions, 0) << "no trace forced a pre-emption";
  EXPECT_GT(hits, 0) << "no trace hit a prefix";
  EXPECT_GT(accepted, 0) << "no guess was right";
  EXPECT_GT(proposed, accepted) << "no guess was wrong";
}

TEST_P(Law, RequestsAnswerAsIfAlone) { run_everywhere(0, 12); }
TEST_P(Law, RequestsAnswerAsIfAloneWithAWindow) { run_everywhere(21, 12); }

TEST_P(Law, LogitsDoNotDependOnTheChunk) {
  for (const auto& [window, rope] : {std::pair{0, checkpoint::RopeKind::kDefault},
                                     {21, checkpoint::RopeKind::kDefault},
                                     {0, checkpoint::RopeKind::kDynamic}}) {
    Random random(uint64_t(window) + 7);
    std::vector<int32_t> ids;
    for (int i = 0; i < 131; ++i) ids.push_back(int32_t(random.integer(0, test::kSmallVocabulary - 1)));
    auto alone = machine();
    const test::SmallModelOptions small{.window = window, .rope = rope, .max_context = 64};
    const model::Decoder alone_decoder = test::make_small_model(*alone, small);
    const std::vector<float> expected = test::run_decoder(*alone, alone_decoder, ids, compute::KvType::kF16, 131);
    auto own = machine(2);
    model::Decoder decoder = test::make_small_model(*own, small);
    EngineOptions options;
    options.kv_tokens = 131;
    options.max_rows = 200;
    options.max_sequences = 100;
    Engine engine(std::move(own), std::move(decoder), options);
    for (int64_t chunk : {0, 1, 2, 7, 16, 64}) {
      int64_t next = 0;
      const auto check = [&](int64_t position, std::span<const float> row) {
        ASSERT_EQ(position, next++);
        ASSERT_EQ(row.size(), size_t(test::kSmallVocabulary));
        for (size_t i = 0; i < row.size(); ++i) {
          ASSERT_EQ(row[i], expected[size_t(position) * row.size() + i]) << "position " << position << ", id " << i;
        }
      };
      EXPECT_FALSE(engine.logits(ids, chunk, check, [](int64_t rows) { return rows < 60; }));  // a watch ends it
      EXPECT_LT(next, 131);
      next = 0;
      EXPECT_TRUE(engine.logits(ids, chunk, check));
      EXPECT_EQ(next, 131);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Machines, Law, testing::Values("reference", "cpu"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace updraft::engine
