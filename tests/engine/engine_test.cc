// Engine: what callers see of it: finishing, callbacks, cancelling, deadlines, errors, several answers, statistics, and
// doors on other threads.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "base/error.h"
#include "tests/engine/failing_machine.h"
#include "tests/engine/small_model.h"

namespace updraft::engine {
namespace {

using test::Random;

std::unique_ptr<Engine> make_engine(EngineOptions options, const test::SmallModelOptions& model = {}) {
  auto machine = compute::make_reference();
  model::Decoder decoder = test::make_small_model(*machine, model);
  return std::make_unique<Engine>(std::move(machine), std::move(decoder), options);
}

// Without speculation, so that steps and rows can be counted; what speculation may change is nothing, and tested where
// it lives.
EngineOptions small_options() {
  EngineOptions options;
  options.speculation.on = false;
  options.kv_tokens = 512;
  options.max_context = 128;
  options.max_rows = 32;
  options.max_sequences = 8;
  return options;
}

Request greedy(std::vector<int32_t> ids, int64_t max_new_tokens) {
  Request request;
  request.ids = std::move(ids);
  request.max_new_tokens = max_new_tokens;
  return request;
}

std::vector<int32_t> random_ids(Random& random, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(int32_t(random.integer(0, test::kSmallVocabulary - 1)));
  return ids;
}

TEST(Engine, FinishesByLengthEosAndContext) {
  auto engine = make_engine(small_options());
  const Answer whole = engine->run(greedy({3, 4, 5}, 20)).front();
  EXPECT_EQ(whole.finish_reason, FinishReason::kLength);
  ASSERT_EQ(whole.ids.size(), 20u);
  EXPECT_EQ(whole.prompt_tokens, 3);
  EXPECT_TRUE(whole.tokens.empty());

  Request stops = greedy({3, 4, 5}, 20);
  stops.eos_ids = {whole.ids[9]};
  const Answer stopped = engine->run(stops).front();
  EXPECT_EQ(stopped.finish_reason, FinishReason::kEos);
  EXPECT_EQ(stopped.ids.back(), whole.ids[9]);
  EXPECT_LE(stopped.ids.size(), 10u);

  Request ignores = stops;
  ignores.ignore_eos = true;
  const Answer ignored = engine->run(ignores).front();
  EXPECT_EQ(ignored.finish_reason, FinishReason::kLength);
  EXPECT_EQ(ignored.ids.size(), 20u);
  EXPECT_EQ(std::count(ignored.ids.begin(), ignored.ids.end(), whole.ids[9]), 0);

  Request unbounded;
  unbounded.ids = {3, 4, 5};
  EXPECT_EQ(engine->run(unbounded).front().ids.size(), 125u);
  unbounded.context = 10;
  const Answer short_one = engine->run(unbounded).front();
  EXPECT_EQ(short_one.ids.size(), 7u);
  EXPECT_EQ(short_one.finish_reason, FinishReason::kLength);

  const Answer none = engine->run(greedy({3, 4, 5}, 0)).front();
  EXPECT_EQ(none.finish_reason, FinishReason::kLength);
  EXPECT_TRUE(none.ids.empty() && none.error.empty());
  EXPECT_TRUE(engine->idle());
  EXPECT_FALSE(engine->step());
}

TEST(Engine, RefusesWithASentenceAndGoesOn) {
  auto engine = make_engine(small_options());
  const Answer answer = engine->run(greedy({3, 61}, 5)).front();
  EXPECT_EQ(answer.finish_reason, FinishReason::kError);
  EXPECT_NE(answer.error.find("id 61"), std::string::npos) << answer.error;
  EXPECT_EQ(engine->run(greedy({3}, 500)).front().finish_reason, FinishReason::kError);
  EXPECT_EQ(engine->run(greedy({3}, 5)).front().ids.size(), 5u);
  EXPECT_THROW(engine->logits(std::vector<int32_t>{}, 0, {}), Error);
  EXPECT_THROW(engine->logits(std::vector<int32_t>{-1}, 0, {}), Error);
  EXPECT_THROW(engine->logits(std::vector<int32_t>(600, 1), 0, {}), Error);
}

TEST(Engine, CallbacksComeInOrderAndMayEndTheAnswer) {
  auto engine = make_engine(small_options());
  const std::vector<int32_t> whole = engine->run(greedy({8}, 12)).front().ids;
  std::vector<int32_t> told;
  Request request = greedy({8}, 12);
  request.sampling.top_logprobs = 2;
  request.on_token = [&](int32_t index, const Token& token) {
    EXPECT_EQ(index, 0);
    EXPECT_EQ(token.top.size(), 2u);
    told.push_back(token.id);
    return told.size() < 5;
  };
  const Answer answer = engine->run(request).front();
  EXPECT_EQ(answer.finish_reason, FinishReason::kStop);
  EXPECT_EQ(answer.ids, told);
  EXPECT_EQ(told, std::vector<int32_t>(whole.begin(), whole.begin() + 5));
  EXPECT_EQ(answer.tokens.size(), 5u);

  request.on_token = [](int32_t, const Token&) -> bool { throw Error("the reader is gone"); };
  const Answer thrown = engine->run(request).front();
  EXPECT_EQ(thrown.finish_reason, FinishReason::kError);
  EXPECT_NE(thrown.error.find("the reader is gone"), std::string::npos);
}

TEST(Engine, CancelsFromOutsideAndFromACallback) {
  auto engine = make_engine(small_options());
  const RequestId running = engine->submit(greedy({1, 2, 3}, 50));
  for (int i = 0; i < 5; ++i) engine->step();
  const RequestId waiting = engine->submit(greedy({4}, 50));
  engine->cancel(running);
  engine->cancel(waiting);
  engine->cancel(12345);
  engine->step();
  ASSERT_TRUE(engine->finished(running) && engine->finished(waiting));
  const Answer first = engine->take(running).front();
  EXPECT_EQ(first.finish_reason, FinishReason::kCancelled);
  EXPECT_EQ(first.ids.size(), 5u);
  EXPECT_FALSE(engine->finished(running));
  EXPECT_TRUE(engine->take(waiting).front().ids.empty());
  EXPECT_TRUE(engine->idle());

  RequestId id = 0;
  int told = 0;
  Request request = greedy({7}, 50);
  request.on_token = [&](int32_t, const Token&) {
    if (++told == 3) engine->cancel(id);
    return true;
  };
  id = engine->submit(request);
  while (!engine->finished(id)) engine->step();
  EXPECT_EQ(engine->take(id).front().ids.size(), 3u);
  const EngineStatistics statistics = engine->statistics();
  EXPECT_EQ(statistics.pages_free + statistics.pages_cached, statistics.pages_total);
}

TEST(Engine, AStepThatIsLeftIsAsIfItHadNotBeen) {
  Random random(12);
  const std::vector<int32_t> prompt = random_ids(random, 30);
  auto engine = make_engine(small_options());
  const Answer whole = make_engine(small_options())->run(greedy(prompt, 8)).front();
  const RequestId id = engine->submit(greedy(prompt, 8));
  std::vector<int64_t> told;
  for (int64_t layers : {0, 1}) {
    told.clear();
    EXPECT_TRUE(engine->step([&](int64_t rows) {
      told.push_back(rows);
      return int64_t(told.size()) <= layers;
    }));
    EXPECT_EQ(told.back(), layers * 15) << "half of the rows for each of two layers";
    EXPECT_EQ(engine->statistics().rows, 0);
    EXPECT_EQ(engine->statistics().generated_tokens, 0);
  }
  for (int steps = 0; !engine->finished(id); ++steps) {  // every other step is left
    engine->step([&](int64_t) { return steps % 2 == 0; });
    ASSERT_LT(steps, 100);
  }
  EXPECT_EQ(engine->take(id).front().ids, whole.ids);
  EXPECT_EQ(engine->statistics().steps, 8);
  EXPECT_EQ(engine->statistics().rows, 30 + 7);

  // Cancelled in the middle of its prompt's step: nothing of it is kept, and nothing is in the way of the same again.
  const std::vector<int32_t> other = random_ids(random, 30);
  const RequestId cancelled = engine->submit(greedy(other, 8));
  engine->step([&](int64_t rows) {
    engine->cancel(cancelled);
    return rows == 0;
  });
  engine->step();
  const Answer nothing = engine->take(cancelled).front();
  EXPECT_EQ(nothing.finish_reason, FinishReason::kCancelled);
  EXPECT_TRUE(nothing.ids.empty());
  const EngineStatistics statistics = engine->statistics();
  EXPECT_EQ(statistics.pages_free + statistics.pages_cached, statistics.pages_total);
  const Answer again = engine->run(greedy(other, 8)).front();
  EXPECT_EQ(again.cached_tokens, 0);
  EXPECT_EQ(again.ids, make_engine(small_options())->run(greedy(other, 8)).front().ids);
}

TEST(Engine, DeadlinesEndWhatRunsAndWhatWaits) {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  auto engine = make_engine(options);
  Request runs = greedy({1, 2}, 100), waits = greedy({3}, 100), stays = greedy({4}, 4);
  runs.deadline = waits.deadline = Clock::now() + std::chrono::milliseconds(30);
  stays.deadline = Clock::now() + std::chrono::hours(1);
  runs.on_token = [](int32_t, const Token&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return true;
  };
  const RequestId a = engine->submit(runs), b = engine->submit(waits), c = engine->submit(stays);
  while (!engine->idle()) engine->step();
  const Answer late = engine->take(a).front();
  EXPECT_EQ(late.finish_reason, FinishReason::kDeadline);
  EXPECT_GT(late.ids.size(), 0u);
  EXPECT_LT(late.ids.size(), 100u);
  EXPECT_EQ(engine->take(b).front().finish_reason, FinishReason::kDeadline);
  EXPECT_EQ(engine->take(c).front().finish_reason, FinishReason::kLength);
}

TEST(Engine, APriorityOvertakesAtTheDoor) {
  EngineOptions options = small_options();
  options.max_sequences = 1;
  auto engine = make_engine(options);
  std::vector<int> order;
  const auto submit = [&](int tag, int32_t priority) {
    Request request = greedy({int32_t(tag)}, 3);
    request.priority = priority;
    request.on_token = [&order, tag](int32_t, const Token&) {
      if (order.empty() || order.back() != tag) order.push_back(tag);
      return true;
    };
    engine->submit(request);
  };
  submit(1, 0);
  engine->step();
  submit(2, 0);
  submit(3, 1);
  submit(4, -1);
  submit(5, 1);
  while (engine->step()) continue;
  EXPECT_EQ(order, (std::vector<int>{1, 3, 5, 2, 4}));
}

TEST(Engine, SeveralAnswersShareThePromptsPages) {
  Random random(5);
  const std::vector<int32_t> prompt = random_ids(random, 50);
  Request request = greedy(prompt, 10);
  request.n = 5;
  request.sampling.do_sample = true;
  request.sampling.seed = 11;
  for (bool reuse : {true, false}) {
    EngineOptions options = small_options();
    options.prefix_reuse = reuse;
    auto engine = make_engine(options);
    const std::vector<Answer> answers = engine->run(request);
    ASSERT_EQ(answers.size(), 5u);
    // 50 rows for the first, one more for each other's own last prompt token, nine for the tokens that are fed back.
    EXPECT_EQ(engine->statistics().rows, 50 + 4 + 5 * 9) << "the prompt was computed more than once";
    std::set<std::vector<int32_t>> different;
    for (int32_t i = 0; i < 5; ++i) {
      Request alone = request;
      alone.n = 1;
      alone.sampling.seed = 11 + uint64_t(i);
      EXPECT_EQ(answers[size_t(i)].ids, make_engine(options)->run(alone).front().ids);
      different.insert(answers[size_t(i)].ids);
    }
    EXPECT_GT(different.size(), 1u);
  }
}

TEST(Engine, ATurnOfAChatPrefillsOnlyWhatIsNew) {
  Random random(6);
  auto engine = make_engine(small_options());
  std::vector<int32_t> history = random_ids(random, 40);
  for (int turn = 0; turn < 3; ++turn) {
    Request request;
    request.ids = history;
    request.max_new_tokens = 15;
    request.context = 128;
    const Answer answer = engine->run(request).front();
    // All that the turn before computed: everything but its last token and the five new ones.
    EXPECT_EQ(answer.cached_tokens, turn == 0 ? 0 : int64_t(history.size()) - 6);
    EXPECT_EQ(answer.ids, make_engine(small_options())->run(request).front().ids);
    history.insert(history.end(), answer.ids.begin(), answer.ids.end());
    const auto next = random_ids(random, 5);
    history.insert(history.end(), next.begin(), next.end());
  }
  EXPECT_GT(engine->statistics().prefix_hit_tokens, 60);
}

// Prompts that part within a page, full or not: each begins with a copy of what it shares, also where the pool has no
// page to spare for one.
TEST(Engine, PromptsThatPartWithinAPageShareItsBeginning) {
  Random random(7);
  EngineOptions options = small_options();
  options.max_context = options.kv_tokens = 64;
  auto engine = make_engine(options);
  const std::vector<int32_t> first = random_ids(random, 40);
  const auto ask = [&](const std::vector<int32_t>& ids) {
    Request request;
    request.ids = ids;
    request.max_new_tokens = int64_t(options.max_context) - int64_t(ids.size());
    request.context = options.max_context;
    const Answer answer = engine->run(request).front();
    EXPECT_EQ(answer.ids, make_engine(options)->run(request).front().ids);
    return answer.cached_tokens;
  };
  EXPECT_EQ(ask(first), 0);
  for (const int64_t common : {37, 20, 36, 16, 5, 39}) {
    std::vector<int32_t> ids(first.begin(), first.begin() + common);
    ids.push_back(first[size_t(common)] == 1 ? 2 : 1);
    while (int64_t(ids.size()) < 41) ids.push_back(int32_t(random.integer(0, 9)));
    EXPECT_EQ(ask(ids), common) << common;
    EXPECT_GE(ask(first), common - common % 16);
    const EngineStatistics statistics = engine->statistics();
    EXPECT_EQ(statistics.pages_free + statistics.pages_cached, statistics.pages_total);
  }
}

TEST(Engine, APreemptedRequestAnswersTheSame) {
  EngineOptions options = small_options();
  options.max_context = options.kv_tokens = 128;
  options.unbounded_tokens = 16;
  auto engine = make_engine(options);
  std::vector<RequestId> ids;
  std::vector<std::vector<int32_t>> expected;
  for (int32_t i = 0; i < 4; ++i) {
    Request request;
    request.ids = {i, 9, i};
    request.context = 100;
    request.sampling.do_sample = true;
    request.sampling.seed = uint64_t(i);
    expected.push_back(make_engine(options)->run(request).front().ids);
    ids.push_back(engine->submit(request));
  }
  while (engine->step()) continue;
  EXPECT_GT(engine->statistics().preemptions, 0);
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(engine->take(ids[i]).front().ids, expected[i]);
}

TEST(Engine, TimingsAddUp) {
  auto engine = make_engine(small_options());
  const Answer answer = engine->run(greedy({1, 2, 3, 4}, 6)).front();
  const Timings& t = answer.timings;
  ASSERT_EQ(t.token_times_s.size(), 6u);
  EXPECT_TRUE(std::is_sorted(t.token_times_s.begin(), t.token_times_s.end()));
  EXPECT_GE(t.queued_s, 0);
  EXPECT_DOUBLE_EQ(t.time_to_first_token_s, t.token_times_s.front());
  EXPECT_NEAR(t.queued_s + t.prefill_s, t.time_to_first_token_s, 1e-9);
  EXPECT_NEAR(t.time_to_first_token_s + t.decode_s, t.token_times_s.back(), 1e-9);
  const EngineStatistics statistics = engine->statistics();
  EXPECT_EQ(statistics.prompt_tokens, 4);
  EXPECT_EQ(statistics.generated_tokens, 6);
  EXPECT_EQ(statistics.steps, 6);
  EXPECT_EQ(statistics.rows, 9);
  EXPECT_EQ(statistics.running + statistics.waiting, 0);
}

TEST(Engine, NumericsKeyNamesWhatALogitDependsOn) {
  EXPECT_EQ(make_engine(small_options())->numerics_key(),
            "machine=reference path=double devices=1 packing=f32 activations=f64 kv=f16 rope=default");
}

TEST(Engine, ContextsOfDifferentTablesDoNotShareAPrefix) {
  Random random(8);
  const test::SmallModelOptions dynamic{.rope = checkpoint::RopeKind::kDynamic, .max_context = 32};
  const std::vector<int32_t> prompt = random_ids(random, 40);
  const auto ask = [&](Engine& engine, int64_t context) {
    Request request = greedy(prompt, 8);
    request.context = context;
    request.sampling.top_logprobs = 0;
    return engine.run(request).front();
  };
  auto together = make_engine(small_options(), dynamic);
  for (int64_t context : {48, 128, 48, 64, 100, 128, 64, 48, 77, 90}) {
    const Answer answer = ask(*together, context);
    const Answer alone = ask(*make_engine(small_options(), dynamic), context);
    EXPECT_EQ(answer.ids, alone.ids) << context;
    for (size_t i = 0; i < alone.tokens.size(); ++i) {
      EXPECT_EQ(answer.tokens[i].log_probability, alone.tokens[i].log_probability) << context;
    }
  }
  EXPECT_GT(together->statistics().prefix_hit_tokens, 0);
}

TEST(Engine, AFailingMachineEndsWhatRunsWithItsSentence) {
  auto switches = std::make_shared<test::FailureSwitch>();
  auto machine = std::make_unique<test::FailingMachine>(compute::make_reference(), switches);
  model::Decoder decoder = test::make_small_model(*machine);
  Engine engine(std::move(machine), std::move(decoder), small_options());
  const std::vector<int32_t> expected = engine.run(greedy({5, 6}, 10)).front().ids;
  const RequestId id = engine.submit(greedy({5, 6}, 10));
  engine.step();
  switches->error = "The device was lost.";
  engine.step();
  ASSERT_TRUE(engine.finished(id));
  const Answer answer = engine.take(id).front();
  EXPECT_EQ(answer.finish_reason, FinishReason::kError);
  EXPECT_EQ(answer.error, "The device was lost.");
  EXPECT_THROW(engine.logits(std::vector<int32_t>{1, 2}, 0, [](int64_t, std::span<const float>) {}), Error);
  EXPECT_EQ(engine.statistics().pages_free, engine.statistics().pages_total);
  switches->error.clear();
  EXPECT_EQ(engine.run(greedy({5, 6}, 10)).front().ids, expected);
}

TEST(Engine, DoorsOnSeveralThreads) {
  EngineOptions options = small_options();
  options.unbounded_tokens = 16;
  auto engine = make_engine(options);
  std::atomic<int> doors = 4;
  std::vector<std::thread> threads;
  for (int door = 0; door < 4; ++door) {
    threads.emplace_back([&, door] {
      Random random(uint64_t(door) + 50);
      for (int i = 0; i < 12; ++i) {
        Request request;
        request.ids = random_ids(random, random.integer(1, 30));
        if (random.chance(0.5)) request.max_new_tokens = random.integer(1, 20);
        request.context = 60;
        auto told = std::make_shared<std::atomic<int>>(0);
        request.on_token = [told](int32_t, const Token&) { return ++*told > 0; };
        const RequestId id = engine->submit(std::move(request));
        const bool cancels = random.chance(0.3);
        if (cancels) engine->cancel(id);
        while (!engine->finished(id)) {
          static_cast<void>(engine->idle());  // whatever it says may be over by now: asked for the sanitizer's sake
          EXPECT_GE(engine->statistics().pages_total, 0);
          std::this_thread::yield();
        }
        const Answer answer = engine->take(id).front();
        EXPECT_EQ(int(answer.ids.size()), told->load());
        EXPECT_TRUE(cancels || answer.finish_reason == FinishReason::kLength) << answer.error;
      }
      --doors;
    });
  }
  while (doors > 0) {
    if (!engine->step()) std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(engine->idle());
}

}  // namespace
}  // namespace updraft::engine
