// The scheduler with the real pool and pager, in simulation: ten thousand random traces in which pages hold the ids
// that were "computed" into them. After each step every position a row may see must hold its own id; in the end no page
// is missing and everybody has finished.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/check.h"
#include "engine/pager.h"
#include "tests/support/random.h"

namespace updraft::engine {
namespace {

using test::Random;

struct Simulated {
  std::vector<int32_t> ids;
  int64_t prompt_tokens = 0, limit = 0, end = 0;  // it finishes at `end` ids, but only `limit` is known before
  bool bounded = true;
  int64_t rope_table_key = 0;
  Turn turn;
  int64_t computed = 0;
  PageTable table;
  int64_t proposed = 0;  // rows it would like beside its pending one
  bool running = false, finished = false;
  Simulated* first_of_siblings = nullptr;
};

struct Shape {
  int64_t pages = 0, page_tokens = 0, window = 0, unbounded_tokens = 0;
  bool reuse = true;
  double speculates = 0;
  StepLimits limits;
};

class Simulation {
 public:
  Simulation(Random& random, const Shape& shape)
      : random_(random),
        shape_(shape),
        pool_(shape.pages, shape.page_tokens),
        pager_(pool_, shape.window, shape.reuse),
        slots_(size_t(shape.pages * shape.page_tokens), -1) {}

  void run(int requests);
  int64_t preemptions = 0, shared = 0, forked = 0, granted = 0;

 private:
  void arrive();
  void step();
  void view();
  void apply();
  void admit(Simulated&);
  void compute(Simulated&, int64_t tokens);
  void compute_proposed(Simulated&, int64_t rows);
  void append(Simulated&);
  void end(Simulated&);
  void check_plan() const;
  SharedStart start_of(const Simulated&);
  int64_t reservation(const Simulated& s) const {
    return s.bounded ? s.limit : std::min(s.limit, int64_t(s.ids.size()) + shape_.unbounded_tokens);
  }

  Random& random_;
  Shape shape_;
  KvPool pool_;
  Pager pager_;
  std::vector<int32_t> slots_;  // what each slot of the cache holds
  std::vector<std::unique_ptr<Simulated>> all_;
  std::vector<Simulated*> waiting_, running_;
  std::vector<RunningView> running_views_;
  std::vector<WaitingView> waiting_views_;
  Plan plan_;
  int64_t steps_ = 0;
  std::map<Simulated*, int64_t> last_row_;  // the step in which a running one last had a row
};

void Simulation::arrive() {
  const int64_t capacity = shape_.pages * shape_.page_tokens;
  const int64_t siblings = random_.chance(0.2) ? random_.integer(2, 3) : 1;
  auto make = [&] {
    auto s = std::make_unique<Simulated>();
    // Few different ids and few different openings: prefixes are shared often.
    const int64_t kind = random_.integer(0, 2);
    s->prompt_tokens = random_.integer(1, capacity - 1);
    if (random_.chance(0.7)) s->prompt_tokens = std::min<int64_t>(s->prompt_tokens, random_.integer(1, 20));
    for (int64_t i = 0; i < s->prompt_tokens; ++i) s->ids.push_back(int32_t(random_.chance(0.02) ? 9 : kind));
    s->limit = std::min(capacity, s->prompt_tokens + random_.integer(1, capacity));
    s->end = random_.integer(s->prompt_tokens + 1, s->limit);
    s->bounded = random_.chance(0.5);
    s->rope_table_key = random_.integer(0, 1);
    s->turn = {steps_ - kStepsPerPriority * random_.integer(0, 1), 0};
    return s;
  };
  auto first = make();
  for (int64_t i = 0; i < siblings; ++i) {
    auto s = std::make_unique<Simulated>(*first);
    s->turn.arrival = all_.size();
    s->first_of_siblings = i == 0 ? nullptr : all_[all_.size() - size_t(i)].get();
    auto place =
        std::lower_bound(waiting_.begin(), waiting_.end(), s.get(), [](auto* a, auto* b) { return a->turn < b->turn; });
    waiting_.insert(place, s.get());
    all_.push_back(std::move(s));
  }
}

SharedStart Simulation::start_of(const Simulated& s) {
  if (s.first_of_siblings != nullptr && s.first_of_siblings->running && int64_t(s.ids.size()) == s.prompt_tokens) {
    const Simulated& first = *s.first_of_siblings;
    if (auto start = pager_.fork_start(s.ids, reservation(s), first.table, first.computed)) return *start;
  }
  return pager_.find_start(s.ids, reservation(s), s.rope_table_key);
}

void Simulation::view() {
  running_views_.clear();
  waiting_views_.clear();
  for (Simulated* s : running_) {
    RunningView view;
    view.turn = s->turn;
    view.pending = int64_t(s->ids.size()) - s->computed;
    view.may_be_preempted = !s->bounded;
    if (int64_t(s->ids.size()) > s->table.promised * shape_.page_tokens) {
      view.pages_to_grow = pool_.pages_for(reservation(*s)) - s->table.promised;
      CHECK(!s->bounded) << "a request with a limit was admitted without its pages";
    }
    view.pages_if_preempted = pager_.freed_by_release(s->table);
    s->proposed = 0;
    if (view.pending == 1 && random_.chance(shape_.speculates)) {
      const int64_t room = std::min(s->end - 1, s->table.promised * shape_.page_tokens) - int64_t(s->ids.size());
      view.proposed = s->proposed = std::clamp<int64_t>(random_.integer(0, 9), 0, std::max<int64_t>(room, 0));
    }
    running_views_.push_back(view);
  }
  for (Simulated* s : waiting_) {
    const SharedStart start = start_of(*s);
    waiting_views_.push_back({int64_t(s->ids.size()) - start.computed, start.cost});
  }
}

void Simulation::check_plan() const {
  int64_t rows = 0, proposed = 0, pages = pool_.available();
  std::vector<int64_t> of_running(running_.size(), 0);
  for (const Plan::Work& work : plan_.work) {
    CHECK(work.tokens > 0);
    rows += work.tokens + work.proposed;
    proposed += work.proposed;
    CHECK(work.proposed == 0 || work.index < int32_t(running_.size())) << "a newcomer has nothing to propose";
    if (work.index < int32_t(running_.size())) {
      CHECK(of_running[size_t(work.index)]++ == 0) << "twice in one step";
      CHECK(work.tokens <= running_views_[size_t(work.index)].pending);
      CHECK(work.proposed <= running_views_[size_t(work.index)].proposed);
    }
  }
  CHECK(rows <= shape_.limits.max_rows) << rows << " rows";
  CHECK(proposed == 0 || int64_t(plan_.work.size()) + proposed <= shape_.limits.max_outputs) << "too many outputs";
  CHECK(int64_t(running_.size()) + plan_.admitted <= shape_.limits.max_sequences || plan_.admitted == 0);
  for (int32_t i : plan_.preempted) {
    CHECK(running_views_[size_t(i)].may_be_preempted && of_running[size_t(i)] == 0);
    pages += running_views_[size_t(i)].pages_if_preempted;
  }
  for (int32_t i : plan_.grown) pages -= running_views_[size_t(i)].pages_to_grow;
  for (int64_t i = 0; i < plan_.admitted; ++i) pages -= waiting_views_[size_t(i)].pages;
  CHECK(pages >= 0) << "pages are overdrawn by " << -pages;
  // Decoding rows come first, and each sequence that decodes and has its pages gets one.
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_views_[i].pending == 1 && running_views_[i].pages_to_grow == 0 &&
        std::count(plan_.preempted.begin(), plan_.preempted.end(), int32_t(i)) == 0) {
      CHECK(of_running[i] == 1) << "a decoding sequence was passed over";
    }
  }
}

void Simulation::admit(Simulated& s) {
  const SharedStart start = start_of(s);
  CHECK(start.cost <= pool_.available()) << "the plan admitted what does not fit";
  auto copy = pager_.admit(s.table, start, s.ids, reservation(s), s.rope_table_key);
  if (copy) {
    std::copy_n(slots_.begin() + copy->from * shape_.page_tokens, shape_.page_tokens,
                slots_.begin() + copy->to * shape_.page_tokens);
  }
  s.computed = start.computed;
  shared += start.pages;
  forked += start.sibling != nullptr;
  s.running = true;
  last_row_[&s] = steps_;
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &s));
  running_.push_back(&s);
}

// Writes ids (mixed with the RoPE table's key, for those must not be shared either) and looks at what each row sees.
void Simulation::compute(Simulated& s, int64_t tokens) {
  pager_.cover(s.table, s.computed + tokens);
  const auto slot = [&](int64_t position) -> int32_t& {
    const int32_t page = s.table.pages[size_t(position / shape_.page_tokens)];
    CHECK(page >= 0) << "position " << position << " was given back";
    return slots_[size_t(page * shape_.page_tokens + position % shape_.page_tokens)];
  };
  const auto content = [&](int64_t position) { return int32_t(s.ids[size_t(position)] * 2 + s.rope_table_key); };
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t position = s.computed + i;
    CHECK(pool_.references(s.table.pages[size_t(position / shape_.page_tokens)]) == 1) << "wrote into a shared page";
    slot(position) = content(position);
    const int64_t first = shape_.window == 0 ? 0 : std::max<int64_t>(0, position - shape_.window + 1);
    for (int64_t seen = first; seen <= position; ++seen) {
      CHECK(slot(seen) == content(seen)) << "position " << seen << " holds another id";
    }
  }
  s.computed += tokens;
  pager_.remember(s.table, s.ids, s.computed, s.rope_table_key);
  pager_.drop_behind_window(s.table, s.computed);
  last_row_[&s] = steps_;
}

// What speculation leaves where it was wrong: rows of other ids, in pages of its own.
void Simulation::compute_proposed(Simulated& s, int64_t rows) {
  const int64_t end = int64_t(s.ids.size()) + rows;
  pager_.cover(s.table, end);
  for (int64_t position = int64_t(s.ids.size()); position < end; ++position) {
    const int32_t page = s.table.pages[size_t(position / shape_.page_tokens)];
    CHECK(page >= 0 && pool_.references(page) == 1) << "proposed a row into a page of others";
    slots_[size_t(page * shape_.page_tokens + position % shape_.page_tokens)] = -2;
  }
  granted += rows;
}

void Simulation::append(Simulated& s) {
  s.ids.push_back(int32_t(random_.integer(0, 2)));
  s.finished = int64_t(s.ids.size()) >= s.end || random_.chance(0.01);  // some are cancelled
  if (s.finished) end(s);
}

void Simulation::end(Simulated& s) {
  pager_.release(s.table);
  s.computed = 0;
  s.running = false;
  running_.erase(std::find(running_.begin(), running_.end(), &s));
}

void Simulation::apply() {
  const std::vector<Simulated*> before = running_;
  const std::vector<Simulated*> candidates = waiting_;
  for (int32_t i : plan_.preempted) {
    Simulated& victim = *before[size_t(i)];
    end(victim);
    ++preemptions;
    waiting_.insert(
        std::lower_bound(waiting_.begin(), waiting_.end(), &victim, [](auto* a, auto* b) { return a->turn < b->turn; }),
        &victim);
  }
  for (int32_t i : plan_.grown) {
    CHECK(pager_.grow(before[size_t(i)]->table, reservation(*before[size_t(i)]))) << "growth was planned without pages";
  }
  for (int64_t i = 0; i < plan_.admitted; ++i) admit(*candidates[size_t(i)]);
  pool_.check();
  for (const Plan::Work& work : plan_.work) {
    const bool was_running = work.index < int32_t(before.size());
    Simulated& s = was_running ? *before[size_t(work.index)] : *candidates[size_t(work.index) - before.size()];
    compute_proposed(s, work.proposed);
    compute(s, std::min(work.tokens, int64_t(s.ids.size()) - s.computed));
    if (s.computed < int64_t(s.ids.size())) continue;
    append(s);
    for (int64_t accepted = 0; accepted < work.proposed && !s.finished && random_.chance(0.7); ++accepted) {
      compute(s, 1);
      append(s);
    }
  }
  pool_.check();
}

void Simulation::step() {
  view();
  plan_step(running_views_, waiting_views_, pool_.available(), shape_.limits, plan_);
  check_plan();
  CHECK(!plan_.work.empty() || !plan_.preempted.empty())
      << "nobody can go on: " << running_.size() << " run, " << waiting_.size() << " wait";
  apply();
  ++steps_;
}

void Simulation::run(int requests) {
  int64_t most_tokens = 0;
  while (requests > 0 || !waiting_.empty() || !running_.empty()) {
    while (requests > 0 && (random_.chance(0.2) || (waiting_.empty() && running_.empty()))) {
      arrive();
      --requests;
    }
    step();
    CHECK(steps_ < 100000) << "the trace does not end";
  }
  for (const auto& s : all_) {
    EXPECT_TRUE(s->finished) << "someone starved";
    most_tokens = std::max<int64_t>(most_tokens, int64_t(s->ids.size()));
  }
  EXPECT_EQ(pool_.free() + pool_.cached(), pool_.total());
  EXPECT_EQ(pool_.reserved(), 0);
  EXPECT_GT(most_tokens, 0);
}

TEST(Scheduler, RandomTracesLeakNothingAndStarveNobody) {
  Random random(1);
  int64_t preemptions = 0, shared = 0, forked = 0, granted = 0;
  for (int trace = 0; trace < 10000; ++trace) {
    Shape shape;
    shape.pages = random.integer(2, 24);
    shape.page_tokens = random.integer(1, 6);
    shape.window = random.chance(0.4) ? random.integer(1, 20) : 0;
    shape.unbounded_tokens = random.integer(1, 20);
    shape.reuse = random.chance(0.8);
    shape.limits.max_rows = random.integer(1, 24);
    shape.limits.max_sequences = random.integer(1, std::min<int64_t>(8, shape.limits.max_rows));
    shape.limits.max_outputs =
        std::min(shape.limits.max_rows, shape.limits.max_sequences + random.integer(0, shape.limits.max_rows));
    shape.speculates = random.chance(0.5) ? 0.8 : 0;
    Simulation simulation(random, shape);
    simulation.run(int(random.integer(1, 12)));
    preemptions += simulation.preemptions;
    shared += simulation.shared;
    forked += simulation.forked;
    granted += simulation.granted;
  }
  EXPECT_GT(preemptions, 100);
  EXPECT_GT(shared, 1000);
  EXPECT_GT(forked, 100);
  EXPECT_GT(granted, 1000);
}

TEST(Scheduler, ProposedRowsGetWhatNobodyElseNeeds) {
  std::vector<RunningView> running = {{.turn = {1, 1}, .pending = 1, .proposed = 6},
                                      {.turn = {2, 2}, .pending = 20, .proposed = 6},
                                      {.turn = {3, 3}, .pending = 1, .proposed = 6}};
  Plan plan;
  plan_step(running, {}, 0, {.max_rows = 22, .max_sequences = 8, .max_outputs = 22}, plan);
  ASSERT_EQ(plan.work.size(), 3u);  // two that decode and the whole prompt
  for (const Plan::Work& work : plan.work) EXPECT_EQ(work.proposed, 0);
  plan_step(running, {}, 0, {.max_rows = 30, .max_sequences = 8, .max_outputs = 30}, plan);
  EXPECT_EQ(plan.work[0].proposed, 6);
  EXPECT_EQ(plan.work[1].proposed, 2);
  EXPECT_EQ(plan.work[2].proposed, 0);  // a prompt
  EXPECT_EQ(plan.work[2].tokens, 20);
  plan_step(running, {}, 0, {.max_rows = 64, .max_sequences = 8, .max_outputs = 8}, plan);
  EXPECT_EQ(plan.work[0].proposed, 5);  // 3 of the 8 outputs are the sequences' own
  EXPECT_EQ(plan.work[1].proposed, 0);
}

TEST(Scheduler, DecodingComesBeforePromptsAndPromptsFillTheRest) {
  const std::vector<RunningView> running = {{.turn = {1, 1}, .pending = 100},
                                            {.turn = {3, 3}, .pending = 1},
                                            {.turn = {0, 0}, .pending = 10},
                                            {.turn = {2, 2}, .pending = 1}};
  Plan plan;
  plan_step(running, {}, 0, {32, 8}, plan);
  ASSERT_EQ(plan.work.size(), 4u);
  EXPECT_EQ(plan.work[0].index, 1);
  EXPECT_EQ(plan.work[1].index, 3);
  EXPECT_EQ(plan.work[2].index, 2);
  EXPECT_EQ(plan.work[2].tokens, 10);
  EXPECT_EQ(plan.work[3].index, 0);
  EXPECT_EQ(plan.work[3].tokens, 20);
}

TEST(Scheduler, NobodyOvertakesAtTheDoor) {
  const std::vector<WaitingView> waiting = {
      {.pending = 5, .pages = 2}, {.pending = 5, .pages = 9}, {.pending = 5, .pages = 1}};
  Plan plan;
  plan_step({}, waiting, 8, {32, 8}, plan);
  EXPECT_EQ(plan.admitted, 1);
}

TEST(Scheduler, TheLatestTurnGivesItsPages) {
  const std::vector<RunningView> running = {
      {.turn = {5, 5}, .may_be_preempted = true, .pages_if_preempted = 4},
      {.turn = {1, 1}, .pages_to_grow = 3, .may_be_preempted = true, .pages_if_preempted = 6},
      {.turn = {9, 9}, .may_be_preempted = false},
      {.turn = {7, 7}, .may_be_preempted = true, .pages_if_preempted = 2}};
  Plan plan;
  plan_step(running, {}, 1, {32, 8}, plan);
  EXPECT_EQ(plan.preempted, std::vector<int32_t>{3});
  EXPECT_EQ(plan.grown, std::vector<int32_t>{1});
  EXPECT_EQ(plan.work.size(), 3u);
}

TEST(Scheduler, WhoCannotGrowWaitsAndNobodyIsAdmittedMeanwhile) {
  const std::vector<RunningView> running = {{.turn = {5, 5}, .pages_to_grow = 3, .may_be_preempted = true},
                                            {.turn = {1, 1}, .may_be_preempted = true, .pages_if_preempted = 8}};
  const std::vector<WaitingView> waiting = {{.pending = 5, .pages = 1}};
  Plan plan;
  plan_step(running, waiting, 2, {32, 8}, plan);
  EXPECT_TRUE(plan.preempted.empty() && plan.grown.empty());
  EXPECT_EQ(plan.admitted, 0);
  ASSERT_EQ(plan.work.size(), 1u);
  EXPECT_EQ(plan.work[0].index, 1);
}

}  // namespace
}  // namespace updraft::engine
