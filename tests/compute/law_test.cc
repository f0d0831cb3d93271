// The law of the house, with ==: a position's logits are a function of the ids before it alone. A small random decoder,
// spoken directly in verbs, is run with every prompt alone and in one step; then chunked, batched with others, on other
// pages full of NaN, with other thread counts and instruction sets: not one bit may change.
#include <map>

#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

constexpr int64_t kPositions = 1400;

struct ModelShape {
  int64_t hidden, intermediate, vocabulary;
  int query_heads, key_value_heads, head_dim, window;
  Packing packing;
  KvType kv_dtype;
  bool biases, head_norms;
};

ModelShape random_shape(test::Random& random) {
  ModelShape s{};
  s.hidden = random.integer(1, 130);
  s.intermediate = random.integer(1, random.chance(0.3) ? 1300 : 200);
  s.vocabulary = random.integer(2, 120);
  s.key_value_heads = int(random.integer(1, 3));
  s.query_heads = s.key_value_heads * int(random.integer(1, 8));
  s.head_dim = 2 * int(random.integer(1, random.chance(0.2) ? 68 : 24));
  s.window = random.chance(0.4) ? int(random.integer(1, 90)) : 0;
  s.packing = any_packing(random);
  s.kv_dtype = random_kv_type(random);
  s.biases = random.chance(0.5);
  s.head_norms = random.chance(0.5);
  return s;
}

std::ostream& operator<<(std::ostream& out, const ModelShape& s) {
  return out << "hidden " << s.hidden << ", intermediate " << s.intermediate << ", vocabulary " << s.vocabulary
             << ", heads " << s.query_heads << "/" << s.key_value_heads << " x " << s.head_dim << ", window "
             << s.window << ", " << name(s.packing) << ", kv " << name(s.kv_dtype) << ", biases " << s.biases
             << ", head norms " << s.head_norms;
}

struct LayerValues {
  std::vector<float> attention_norm, mlp_norm, query_norm, key_norm;
  Matrix qkv, output, gate_up, down;
};

// The same values for every machine.
struct ModelValues {
  ModelShape shape;
  Matrix embedding, head;
  std::vector<float> final_norm;
  std::vector<LayerValues> layers;
  RopeTables ropes;

  ModelValues(test::Random& random, const ModelShape& s) : shape(s) {
    const double bias = s.biases ? 0.7 : 0;
    const int64_t q = int64_t(s.query_heads) * s.head_dim, k = int64_t(s.key_value_heads) * s.head_dim;
    embedding =
        Matrix::make(random, {s.vocabulary}, s.hidden, s.packing, 0, [&](int64_t, int64_t) { return random.normal(); });
    head = Matrix::random(random, {s.vocabulary}, s.hidden, s.packing, 0);
    final_norm = RandomNorm(random, s.hidden).weight;
    for (int layer = 0; layer < 2; ++layer) {
      LayerValues& l = layers.emplace_back();
      l.attention_norm = RandomNorm(random, s.hidden).weight;
      l.mlp_norm = RandomNorm(random, s.hidden).weight;
      if (s.head_norms) {
        l.query_norm = RandomNorm(random, s.head_dim).weight;
        l.key_norm = RandomNorm(random, s.head_dim).weight;
      }
      l.qkv = Matrix::random(random, {q, k, k}, s.hidden, s.packing, bias);
      l.output = Matrix::random(random, {s.hidden}, q, s.packing, bias);
      l.gate_up = Matrix::random(random, {s.intermediate, s.intermediate}, s.hidden, s.packing, bias);
      l.down = Matrix::random(random, {s.hidden}, s.intermediate, s.packing, bias);
    }
    for (int table = 0; table < 2; ++table) {
      auto rope = std::make_shared<RopeTable>();
      rope->positions = kPositions;
      rope->pairs = s.head_dim / 2;
      for (int64_t p = 0; p < kPositions; ++p)
        for (int64_t i = 0; i < rope->pairs; ++i) {
          const double angle = double(p) * std::pow(table == 0 ? 1e4 : 1e6, -double(i) / double(rope->pairs));
          rope->cos.push_back(float(std::cos(angle)));
          rope->sin.push_back(float(std::sin(angle)));
        }
      ropes.tables.push_back(std::move(rope));
    }
  }
};

struct Prompt {
  std::vector<int32_t> ids;
  int32_t rope_table = 0;
};

// The decoder on one machine, with its cache.
class Runner {
 public:
  Runner(Machine& machine, const ModelValues& values, int64_t max_rows, int64_t pages)
      : machine_(machine), values_(values), embedding_(values.embedding.on(machine)), head_(values.head.on(machine)) {
    const ModelShape& s = values.shape;
    final_norm_ = norm(values.final_norm);
    for (const LayerValues& l : values.layers) {
      Layer& layer = layers_.emplace_back();
      layer.attention_norm = norm(l.attention_norm);
      layer.mlp_norm = norm(l.mlp_norm);
      layer.spec = {
          s.query_heads, s.key_value_heads, s.head_dim, float(1 / std::sqrt(double(s.head_dim))), s.window, {}, {}};
      if (!l.query_norm.empty()) {
        layer.spec.query_norm = norm(l.query_norm);
        layer.spec.key_norm = norm(l.key_norm);
      }
      layer.qkv = l.qkv.on(machine);
      layer.output = l.output.on(machine);
      layer.gate_up = l.gate_up.on(machine);
      layer.down = l.down.on(machine);
    }
    const int64_t queries = int64_t(s.query_heads) * s.head_dim;
    x_ = machine.allocate_rows(max_rows, s.hidden);
    q_ = machine.allocate_rows(max_rows, queries);
    attended_ = machine.allocate_rows(max_rows, queries);
    hidden_ = machine.allocate_rows(max_rows, s.intermediate);
    logits_ = machine.allocate_rows(max_rows, s.vocabulary);
    kv_ = machine.allocate_kv({int(layers_.size()), s.key_value_heads, s.head_dim, s.kv_dtype}, pages);
  }

  // Fills every slot of every page with NaN, as a sequence that went wrong might have.
  void spoil(int64_t pages) {
    const int64_t tokens = machine_.info().page_tokens;
    const std::vector<float> bad(size_t(values_.shape.hidden), NAN);
    for (int64_t r = 0; r < tokens; ++r) machine_.write_row(x_, r, bad);
    for (int32_t page = 0; page < pages; ++page) {
      const StepInputs in = step_of({{0, tokens, {page}}});
      run_step(machine_, in, [&] {
        for (size_t i = 0; i < layers_.size(); ++i)
          machine_.project_qkv(in, x_, layers_[i].attention_norm, layers_[i].qkv, layers_[i].spec, values_.ropes,
                               {kv_.get(), int(i)}, q_);
      });
    }
  }

  // Logits of the output rows.
  FloatRows forward(const StepInputs& in) {
    run_step(machine_, in, [&] {
      machine_.embed(in, embedding_, x_);
      for (size_t i = 0; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        const KvLayer kv{kv_.get(), int(i)};
        machine_.project_qkv(in, x_, layer.attention_norm, layer.qkv, layer.spec, values_.ropes, kv, q_);
        machine_.attend(in, q_, layer.spec, kv, attended_);
        machine_.project_add(in, attended_, layer.output, x_);
        machine_.gated_project(in, x_, layer.mlp_norm, layer.gate_up, hidden_);
        machine_.project_add(in, hidden_, layer.down, x_);
      }
      if (!in.output_rows.empty()) machine_.logits(in, x_, final_norm_, head_, logits_);
    });
    return read(machine_, logits_, int64_t(in.output_rows.size()));
  }

 private:
  struct Layer {
    Norm attention_norm, mlp_norm;
    AttentionSpec spec;
    Weight qkv, output, gate_up, down;
  };
  Norm norm(const std::vector<float>& weight) { return {machine_.pack_vector(weight), 1e-5f}; }

  Machine& machine_;
  const ModelValues& values_;
  Weight embedding_, head_;
  Norm final_norm_;
  std::vector<Layer> layers_;
  Rows x_, q_, attended_, hidden_, logits_;
  KvCachePtr kv_;
};

using Logits = std::vector<FloatRows>;  // [prompt][position][vocabulary]

// Each prompt alone, one step, pages in order.
Logits run_alone(Machine& machine, const ModelValues& values, const std::vector<Prompt>& prompts) {
  Logits result;
  for (const Prompt& prompt : prompts) {
    const int64_t tokens = int64_t(prompt.ids.size()), pages = pages_for(tokens, machine.info().page_tokens);
    Runner runner(machine, values, tokens, pages);
    std::vector<int32_t> table(static_cast<size_t>(pages));
    std::iota(table.begin(), table.end(), 0);
    StepInputs in = step_of({{0, tokens, table}});
    in.ids = prompt.ids;
    std::fill(in.rope_tables.begin(), in.rope_tables.end(), prompt.rope_table);
    in.output_rows.resize(in.ids.size());
    std::iota(in.output_rows.begin(), in.output_rows.end(), 0);
    result.push_back(runner.forward(in));
  }
  return result;
}

// All prompts together: every step takes a random chunk of a random subset, in random order; pages come from a spoilt
// pool in random order, those wholly behind the window go; a random part of the rows gets logits, the last always.
Logits run_mixed(Machine& machine, const ModelValues& values, const std::vector<Prompt>& prompts,
                 test::Random& random) {
  const int64_t page_tokens = machine.info().page_tokens, most_rows = std::max<int64_t>(90, page_tokens);
  int64_t pool = 3;
  for (const Prompt& prompt : prompts) pool += pages_for(int64_t(prompt.ids.size()), page_tokens);
  Runner runner(machine, values, most_rows, pool);
  runner.spoil(pool);
  std::vector<int32_t> free = shuffled_pages(random, pool);
  std::vector<Span> progress(prompts.size());  // begin: tokens done
  Logits result;
  for (const Prompt& prompt : prompts) result.emplace_back(prompt.ids.size());
  const int64_t usual_chunk = random.chance(0.3) ? 1 : random.integer(1, 60);
  for (;;) {
    std::vector<Span> spans;
    std::vector<size_t> owners;
    int64_t rows = 0;
    std::vector<int32_t> order = shuffled_pages(random, int64_t(prompts.size()));
    for (int32_t index : order) {
      const size_t p = size_t(index);
      const int64_t left = int64_t(prompts[p].ids.size()) - progress[p].begin;
      if (left == 0 || random.chance(0.3)) continue;
      const int64_t take = std::min({left, random.integer(1, usual_chunk), most_rows - rows});
      if (take == 0) continue;
      Span& mine = progress[p];
      while (int64_t(mine.pages.size()) < pages_for(mine.begin + take, page_tokens)) {
        mine.pages.push_back(free.back());
        free.pop_back();
      }
      const int window = values.shape.window;
      const int64_t behind = window > 0 ? std::max<int64_t>(0, mine.begin - window + 1) / page_tokens : 0;
      for (int64_t page = 0; page < behind; ++page) mine.pages[size_t(page)] = -1;
      mine.rows = take;
      spans.push_back(mine);
      owners.push_back(p);
      rows += take;
    }
    if (rows == 0) {
      const bool done = std::all_of(progress.begin(), progress.end(), [&](const Span& s) {
        return s.begin == int64_t(prompts[size_t(&s - progress.data())].ids.size());
      });
      if (done) return result;
      continue;
    }
    StepInputs in = step_of(spans);
    std::vector<std::pair<size_t, int64_t>> asked;  // of each output row: prompt, position
    for (int64_t r = 0; r < in.rows(); ++r) {
      const size_t p = owners[size_t(in.sequences[size_t(r)])];
      const int64_t position = in.positions[size_t(r)];
      in.ids[size_t(r)] = prompts[p].ids[size_t(position)];
      in.rope_tables[size_t(r)] = prompts[p].rope_table;
      if (random.chance(0.5) || position + 1 == int64_t(prompts[p].ids.size())) {
        in.output_rows.push_back(int32_t(r));
        asked.push_back({p, position});
      }
    }
    FloatRows rows_of_step = runner.forward(in);
    for (size_t i = 0; i < asked.size(); ++i)
      result[asked[i].first][size_t(asked[i].second)] = std::move(rows_of_step[i]);
    for (size_t i = 0; i < owners.size(); ++i) progress[owners[i]].begin += spans[i].rows;
  }
}

// Every position that was asked for has the same bits; false prints the first that differs.
testing::AssertionResult same_bits(const Logits& want, const Logits& got) {
  int64_t compared = 0;
  for (size_t p = 0; p < want.size(); ++p)
    for (size_t t = 0; t < want[p].size(); ++t) {
      if (got[p][t].empty()) continue;
      ++compared;
      for (size_t id = 0; id < want[p][t].size(); ++id)
        if (std::memcmp(&want[p][t][id], &got[p][t][id], sizeof(float)) != 0)
          return testing::AssertionFailure()
                 << "prompt " << p << " of " << want.size() << ", position " << t << " of " << want[p].size() << ", id "
                 << id << ": " << want[p][t][id] << " and " << got[p][t][id];
    }
  return compared > 0 ? testing::AssertionSuccess() : testing::AssertionFailure() << "nothing was compared";
}

std::vector<Prompt> random_prompts(test::Random& random, const ModelShape& shape) {
  std::vector<Prompt> prompts(static_cast<size_t>(random.integer(1, 5)));
  for (Prompt& prompt : prompts) {
    prompt.rope_table = int32_t(random.integer(0, 1));
    const int64_t tokens = random.chance(0.3) ? random.integer(1, 4) : random.integer(1, 180);
    for (int64_t i = 0; i < tokens; ++i) prompt.ids.push_back(int32_t(random.integer(0, shape.vocabulary - 1)));
  }
  return prompts;
}

class Law : public Contract {};

TEST_P(Law, LogitsDependOnTheIdsBeforeThemAlone) {
  test::Random random(80);
  for (int round = 0; round < 8; ++round) {
    const ModelShape shape = random_shape(random);
    const ModelValues values(random, shape);
    const std::vector<Prompt> prompts = random_prompts(random, shape);
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << shape);
    const Logits alone = run_alone(*machine_, values, prompts);
    for (const auto& prompt : alone)
      for (const auto& row : prompt)
        for (float x : row) ASSERT_TRUE(std::isfinite(x));
    for (int variant = 0; variant < 3; ++variant)
      ASSERT_TRUE(same_bits(alone, run_mixed(*machine_, values, prompts, random)));
  }
}

// Over a thousand positions: a machine may fold pages into larger pieces there, or split a lone row's pages over
// threads.
TEST_P(Law, LongContextsToo) {
  test::Random random(84);
  for (int round = 0; round < 3; ++round) {
    ModelShape shape = random_shape(random);
    shape.hidden = random.integer(1, 24);
    shape.intermediate = random.integer(1, 24);
    shape.vocabulary = random.integer(2, 20);
    shape.head_dim = 2 * int(random.integer(1, 10));
    shape.window = round == 0 ? 0 : random.chance(0.5) ? int(random.integer(400, 1100)) : shape.window;
    const ModelValues values(random, shape);
    std::vector<Prompt> prompts = random_prompts(random, shape);
    while (prompts[0].ids.size() < size_t(1000 + 100 * round))
      prompts[0].ids.push_back(int32_t(random.integer(0, shape.vocabulary - 1)));
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << shape);
    const Logits alone = run_alone(*machine_, values, prompts);
    for (int variant = 0; variant < 2; ++variant)
      ASSERT_TRUE(same_bits(alone, run_mixed(*machine_, values, prompts, random)));
    const std::unique_ptr<Machine> other = GetParam().make(5);
    ASSERT_TRUE(same_bits(alone, run_mixed(*other, values, prompts, random))) << "5 threads";
  }
}

TEST_P(Law, ThreadsChangeNoBit) {
  const Candidate& c = GetParam();
  if (c.machine == "reference") GTEST_SKIP() << "the reference machine has one thread";
  test::Random random(81);
  for (int round = 0; round < 6; ++round) {
    const ModelShape shape = random_shape(random);
    const ModelValues values(random, shape);
    const std::vector<Prompt> prompts = random_prompts(random, shape);
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << shape);
    const Logits alone = run_alone(*machine_, values, prompts);
    for (const int threads : {1, 3, 5}) {
      const std::unique_ptr<Machine> other = c.make(threads);
      ASSERT_EQ(other->info().threads, threads);
      ASSERT_TRUE(same_bits(alone, run_alone(*other, values, prompts))) << threads << " threads";
      ASSERT_TRUE(same_bits(alone, run_mixed(*other, values, prompts, random))) << threads << " threads";
    }
  }
}

// One numerics key for all that go through fused multiply-adds.
TEST(LawAcrossInstructionSets, FusedMultiplyAddsGiveTheSameBitsEverywhere) {
  std::map<std::string, std::unique_ptr<Machine>> machines;
  for (const Candidate& c : candidates()) {
    if (c.machine != "cpu" || c.options.activations != Activations::kF32) continue;
    try {
      machines.emplace(c.label, c.make());
    } catch (const Error&) {  // not on this processor: the contract tests name it
    }
  }
  if (machines.size() < 2) GTEST_SKIP() << "this processor has " << machines.size() << " such instruction set";
  test::Random random(82);
  for (int round = 0; round < 12; ++round) {
    const ModelShape shape = random_shape(random);
    const ModelValues values(random, shape);
    const std::vector<Prompt> prompts = random_prompts(random, shape);
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << shape);
    const Logits first = run_alone(*machines.begin()->second, values, prompts);
    for (const auto& [label, machine] : machines)
      ASSERT_TRUE(same_bits(first, run_alone(*machine, values, prompts)))
          << label << " against " << machines.begin()->first;
  }
}

// The whole decoder against the reference: an error of one verb must not hide behind the tolerance of another.
TEST_P(Law, LogitsAreCloseToTheReference) {
  test::Random random(83);
  for (int round = 0; round < 6; ++round) {
    ModelShape shape = random_shape(random);
    shape.kv_dtype = KvType::kF32;
    shape.hidden = random.integer(32, 130);  // one or two channels make ill-conditioned norms
    shape.head_dim = std::max(shape.head_dim, 8);
    const ModelValues values(random, shape);
    const std::vector<Prompt> prompts = random_prompts(random, shape);
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << shape);
    const Logits got = run_alone(*machine_, values, prompts), want = run_alone(*reference_, values, prompts);
    double largest = 0, difference = 0;
    for (size_t p = 0; p < want.size(); ++p)
      for (size_t t = 0; t < want[p].size(); ++t)
        for (size_t id = 0; id < want[p][t].size(); ++id) {
          largest = std::max(largest, std::abs(double(want[p][t][id])));
          difference = std::max(difference, std::abs(double(want[p][t][id]) - double(got[p][t][id])));
        }
    const bool tiles = activation_error(machine_->info(), shape.packing) > 1e-6;
    // An activation at the edge of two integers may go either way: a 127th of the largest in its group.
    EXPECT_LE(difference, (is_integer(shape.packing) ? 5e-2 : tiles ? 1e-3 : 2e-5) * largest);
  }
}

UPDRAFT_ON_EVERY_MACHINE(Law);

}  // namespace
}  // namespace updraft::compute
