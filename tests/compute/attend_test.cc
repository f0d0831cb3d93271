// attend: softmax(scale q K^T) V over the positions a row may see. K and V are small binary fractions that every
// machine computes and stores exactly, so that the test knows them and attention's own rounding is all that may differ.
#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

// A projection whose q|k|v are exact: x is plus or minus one (so its norm is itself), weights are sixteenths.
struct ExactKv {
  AttentionSpec spec;
  int64_t hidden = 0;
  Matrix w;
  RopeTables ropes;  // the identity

  ExactKv(test::Random& random, int64_t positions) {
    spec.key_value_heads = int(random.integer(1, 3));
    spec.query_heads = spec.key_value_heads * int(random.integer(1, 8));
    spec.head_dim = 2 * int(random.integer(1, random.chance(0.3) ? 68 : 20));
    spec.scale = float(1 / std::sqrt(double(spec.head_dim)));
    hidden = random.integer(1, 12);
    const int64_t rows = int64_t(spec.query_heads + 2 * spec.key_value_heads) * spec.head_dim;
    w = Matrix::make(random, {rows}, hidden, Packing::kBF16, 0,
                     [&](int64_t, int64_t) { return float(random.integer(-16, 16)) / 16; });
    auto rope = std::make_shared<RopeTable>();
    rope->positions = positions;
    rope->pairs = spec.head_dim / 2;
    rope->cos.assign(size_t(positions * rope->pairs), 1.0f);
    rope->sin.assign(size_t(positions * rope->pairs), 0.0f);
    ropes.tables.push_back(std::move(rope));
  }

  int64_t queries() const { return int64_t(spec.query_heads) * spec.head_dim; }

  // K (part 0) or V (part 1) of one token, of all heads.
  std::vector<double> stored(KvType type, std::span<const float> x, int64_t part) const {
    const std::vector<double> row(x.begin(), x.end());
    std::vector<double> all;
    for (int64_t head = 0; head < spec.key_value_heads; ++head) {
      std::vector<double> values;
      for (int64_t i = 0; i < spec.head_dim; ++i)
        values.push_back(w.product(row, (spec.query_heads + part * spec.key_value_heads + head) * spec.head_dim + i));
      values = kept(type, values);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
};

// A sequence of `length` tokens whose last `rows` attend in this step.
struct Conversation {
  int64_t length = 0, rows = 0;
  FloatRows x;                                    // [length, hidden] of plus or minus one
  FloatRows queries;                              // [rows, queries]
  std::vector<std::vector<double>> keys, values;  // [length][key/value heads * head_dim], as the cache keeps them
};

struct AttendProblem {
  ExactKv kv;
  KvType kv_dtype;
  int window;
  std::vector<Conversation> conversations;
};

AttendProblem random_problem(test::Random& random, int64_t longest) {
  AttendProblem p{ExactKv(random, longest + 100), random_kv_type(random), 0, {}};
  if (random.chance(0.5)) p.window = int(random.integer(1, random.chance(0.5) ? 60 : longest));
  const int64_t count = random.integer(1, 4);
  for (int64_t i = 0; i < count; ++i) {
    Conversation c;
    c.rows = random.chance(0.5) ? 1 : random.integer(1, 40);
    c.length = c.rows + (random.chance(0.3) ? 0 : random.integer(0, longest));
    for (int64_t t = 0; t < c.length; ++t) {
      auto& row = c.x.emplace_back();
      for (int64_t h = 0; h < p.kv.hidden; ++h) row.push_back(random.chance(0.5) ? 1.0f : -1.0f);
    }
    c.queries = random_rows(random, c.rows, p.kv.queries());
    for (const std::vector<float>& row : c.x) {
      c.keys.push_back(p.kv.stored(p.kv_dtype, row, 0));
      c.values.push_back(p.kv.stored(p.kv_dtype, row, 1));
    }
    p.conversations.push_back(std::move(c));
  }
  return p;
}

// Stores every token's K and V, a few at a time, then attends. Pages start full of NaN; those wholly behind the window
// are taken away before attending.
FloatRows run_attend(Machine& machine, const AttendProblem& p, test::Random& random) {
  const int64_t page_tokens = machine.info().page_tokens, queries = p.kv.queries();
  int64_t pool = 2, most = 1;
  for (const Conversation& c : p.conversations) {
    pool += pages_for(c.length, page_tokens);
    most = std::max(most, c.length);
  }
  const std::vector<int32_t> pages = shuffled_pages(random, pool);
  const KvCachePtr kv = machine.allocate_kv({2, p.kv.spec.key_value_heads, p.kv.spec.head_dim, p.kv_dtype}, pool);
  const Weight weight = p.kv.w.on(machine);
  const std::vector<float> ones(size_t(p.kv.hidden), 1.0f);
  const Norm norm{machine.pack_vector(ones), 0.0f};
  const Rows x = machine.allocate_rows(most + page_tokens, p.kv.hidden),
             q = machine.allocate_rows(most + page_tokens, queries);
  const auto store = [&](const Span& span, const FloatRows& values, int64_t from) {
    const StepInputs in = step_of({span});
    for (int64_t r = 0; r < span.rows; ++r) machine.write_row(x, r, values[size_t(from + r)]);
    run_step(machine, in, [&] { machine.project_qkv(in, x, norm, weight, p.kv.spec, p.kv.ropes, {kv.get(), 1}, q); });
  };
  const FloatRows garbage(size_t(page_tokens), std::vector<float>(size_t(p.kv.hidden), NAN));
  for (int32_t page : pages) store({0, page_tokens, {page}}, garbage, 0);

  std::vector<Span> spans;
  size_t taken = 0;
  FloatRows all_queries;
  for (const Conversation& c : p.conversations) {
    const size_t count = size_t(pages_for(c.length, page_tokens));
    Span span{c.length - c.rows,
              c.rows,
              {pages.begin() + std::ptrdiff_t(taken), pages.begin() + std::ptrdiff_t(taken + count)}};
    taken += count;
    for (int64_t begin = 0; begin < c.length;) {
      const int64_t rows = std::min(c.length - begin, random.integer(1, 50));
      store({begin, rows, span.pages}, c.x, begin);
      begin += rows;
    }
    const int64_t behind = p.window > 0 ? std::max<int64_t>(0, span.begin - p.window + 1) / page_tokens : 0;
    for (int64_t page = 0; page < behind; ++page) span.pages[size_t(page)] = -1;
    spans.push_back(std::move(span));
    all_queries.insert(all_queries.end(), c.queries.begin(), c.queries.end());
  }
  AttentionSpec spec = p.kv.spec;
  spec.window = p.window;
  const StepInputs in = step_of(spans);
  const Rows from = write(machine, all_queries, queries), out = machine.allocate_rows(in.rows(), queries);
  run_step(machine, in, [&] { machine.attend(in, from, spec, {kv.get(), 1}, out); });
  return read(machine, out, in.rows());
}

class AttendContract : public Contract {
 protected:
  // One head of one row in double, and how far a machine in F32 may be from it.
  void check_head(const AttendProblem& p, const Conversation& c, int64_t row, int64_t head, const float* got,
                  const float* reference) {
    const AttentionSpec& spec = p.kv.spec;
    const int64_t d = spec.head_dim, kv_head = head / (spec.query_heads / spec.key_value_heads);
    const int64_t last = c.length - c.rows + row, first = p.window > 0 ? std::max<int64_t>(0, last - p.window + 1) : 0;
    const float* q = c.queries[size_t(row)].data() + head * d;
    std::vector<double> scores, sum(static_cast<size_t>(d)), magnitude(static_cast<size_t>(d));
    // Integer products take q in 16 bits (half a step of the head's largest) and the weights, times V's scales, too.
    const bool whole = p.kv_dtype == KvType::kInt8;
    double q_step = 0, largest_share = 0;
    for (int64_t i = 0; whole && i < d; ++i) q_step = std::max(q_step, std::abs(double(q[i])) / 65534);
    double change = 0, largest = -INFINITY, total = 0;
    for (int64_t t = first; t <= last; ++t) {
      const double* k = c.keys[size_t(t)].data() + kv_head * d;
      double score = 0, size = 0, tipped = 0;
      for (int64_t i = 0; i < d; ++i) {
        score += double(q[i]) * k[i];
        size += std::abs(double(q[i]) * k[i]);
        tipped += q_step * std::abs(k[i]);
      }
      scores.push_back(score * double(spec.scale));
      change = std::max(change, (double(d + 8) * kUnit * size + tipped) * double(spec.scale));
      largest = std::max(largest, scores.back());
    }
    for (int64_t t = first; t <= last; ++t) {
      const double share = std::exp(scores[size_t(t - first)] - largest);
      const double* v = c.values[size_t(t)].data() + kv_head * d;
      total += share;
      for (size_t i = 0; i < size_t(d); ++i) {
        sum[i] += share * v[i];
        magnitude[i] += share * std::abs(v[i]);
        if (whole) largest_share = std::max(largest_share, share * std::abs(v[i]));
      }
    }
    // exp(s) moves by s's error; subtracting the maximum rounds s once more; each sum adds one rounding a term
    const double spread = largest - *std::min_element(scores.begin(), scores.end());
    const double relative =
        2 * (2 * change + 2 * kUnit * (spread + std::abs(largest)) + double(last - first + 1 + 32) * kUnit);
    const double tipped = double(last - first + 1) * largest_share / 65534 / total * 1.001;
    for (size_t i = 0; i < size_t(d); ++i) {
      ASSERT_NEAR(got[i], sum[i] / total, relative * magnitude[i] / total + tipped + 1e-30)
          << "element " << i << " of " << d;
      ASSERT_NEAR(reference[i], sum[i] / total, 2 * kUnit * std::abs(sum[i] / total) + 1e-12) << "the reference itself";
    }
  }
};

TEST_P(AttendContract, EqualsPlainLoopsOverTheVisiblePositions) {
  test::Random random(70);
  for (int round = 0; round < 40; ++round) {
    const AttendProblem p = random_problem(random, round % 8 == 0 ? 1200 : 200);
    const FloatRows got = run_attend(*machine_, p, random), reference = run_attend(*reference_, p, random);
    size_t row = 0;
    for (const Conversation& c : p.conversations)
      for (int64_t r = 0; r < c.rows; ++r, ++row)
        for (int64_t head = 0; head < p.kv.spec.query_heads; ++head) {
          check_head(p, c, r, head, got[row].data() + head * p.kv.spec.head_dim,
                     reference[row].data() + head * p.kv.spec.head_dim);
          ASSERT_FALSE(HasFatalFailure())
              << "round " << round << ", row " << r << " of " << c.rows << ", length " << c.length << ", head " << head
              << " of " << p.kv.spec.query_heads << "/" << p.kv.spec.key_value_heads << ", window " << p.window
              << ", kv " << name(p.kv_dtype);
        }
  }
}

// copy_pages: a fork sees what its parent stored, and writing to the fork leaves the parent alone.
TEST_P(AttendContract, CopiedPagesAreEqualAndIndependent) {
  test::Random random(71);
  for (const KvType dtype : kKvTypes) {
    const int64_t page_tokens = machine_->info().page_tokens;
    const ExactKv exact(random, page_tokens);
    const KvCachePtr kv = machine_->allocate_kv({2, exact.spec.key_value_heads, exact.spec.head_dim, dtype}, 5);
    const Weight weight = exact.w.on(*machine_);
    const std::vector<float> ones(size_t(exact.hidden), 1.0f);
    const Norm norm{machine_->pack_vector(ones), 0.0f};
    FloatRows x;
    for (int64_t t = 0; t < page_tokens; ++t)
      x.emplace_back(size_t(exact.hidden), 1.0f), x.back()[0] = random.chance(0.5) ? 1.0f : -1.0f;
    const auto attend_page = [&](int32_t page) {
      const StepInputs in = step_of({{page_tokens - 1, 1, {page}}});
      const Rows q = write(*machine_, {std::vector<float>(size_t(exact.queries()), 0.25f)}, exact.queries());
      const Rows out = machine_->allocate_rows(1, exact.queries());
      run_step(*machine_, in, [&] { machine_->attend(in, q, exact.spec, {kv.get(), 1}, out); });
      return read(*machine_, out, 1)[0];
    };
    const auto store = [&](int32_t page, const FloatRows& rows) {
      const StepInputs in = step_of({{0, int64_t(rows.size()), {page}}});
      const Rows from = write(*machine_, rows, exact.hidden), q = machine_->allocate_rows(page_tokens, exact.queries());
      run_step(*machine_, in, [&] {
        machine_->project_qkv(in, from, norm, weight, exact.spec, exact.ropes, {kv.get(), 1}, q);
      });
    };
    store(3, x);
    const std::vector<float> before = attend_page(3);
    const std::vector<int32_t> from = {3, 3}, to = {1, 4};
    kv->copy_pages(from, to);
    EXPECT_EQ(attend_page(1), before);
    store(1, FloatRows(size_t(page_tokens), std::vector<float>(size_t(exact.hidden), -1.0f)));
    EXPECT_EQ(attend_page(3), before);
    EXPECT_EQ(attend_page(4), before);
    kv->fill_pages(to, 5);
    const std::vector<float> filled = attend_page(1);
    for (float v : filled) EXPECT_TRUE(std::isfinite(v));
    kv->fill_pages(to, 5);
    EXPECT_EQ(attend_page(1), filled);
    EXPECT_EQ(attend_page(3), before);
  }
}

UPDRAFT_ON_EVERY_MACHINE(AttendContract);

}  // namespace
}  // namespace updraft::compute
