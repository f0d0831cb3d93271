// project_qkv: q|k|v = norm(x) W^T + b, q and k heads normed and rotated, k and v stored in the cache's type. What was
// stored is read back through attend: with a window of one position its output is V itself; with two, their mixture is
// a function of K.
#include <optional>

#include "tests/compute/contract.h"

namespace updraft::compute {
namespace {

struct Problem {
  AttentionSpec spec;
  int64_t hidden = 0, rows = 0;
  Packing packing = Packing::kF32;
  KvType kv_dtype = KvType::kF32;
  Matrix w;
  FloatRows x;
  std::optional<RandomNorm> norm;
  std::vector<float> query_norm, key_norm;
  float head_epsilon = 1e-6f;
  RopeTables ropes;
};

RopeTables random_ropes(test::Random& random, int64_t positions, int64_t pairs) {
  RopeTables ropes;
  for (int table = 0; table < 3; ++table) {
    auto rope = std::make_shared<RopeTable>();
    rope->positions = positions;
    rope->pairs = pairs;
    for (int64_t i = 0; i < positions * pairs; ++i) {
      const double angle = random.real() * 6.28;
      rope->cos.push_back(float(std::cos(angle) * (1 + 0.1 * table)));
      rope->sin.push_back(float(std::sin(angle) * (1 + 0.1 * table)));
    }
    ropes.tables.push_back(std::move(rope));
  }
  return ropes;
}

Problem random_problem(test::Random& random) {
  Problem p;
  p.spec.key_value_heads = int(random.integer(1, 3));
  p.spec.query_heads = p.spec.key_value_heads * int(random.integer(1, 8));
  p.spec.head_dim = 2 * int(random.integer(1, random.chance(0.3) ? 68 : 20));
  p.spec.scale = float(1 / std::sqrt(double(p.spec.head_dim)));
  p.hidden = random.integer(1, 300);
  p.rows = random.integer(1, 70);
  p.packing = random_packing(random);
  p.kv_dtype = random_kv_type(random);
  const int64_t d = p.spec.head_dim;
  p.w = Matrix::random(random, {p.spec.query_heads * d, p.spec.key_value_heads * d, p.spec.key_value_heads * d},
                       p.hidden, p.packing, 0.5);
  p.x = random_rows(random, p.rows, p.hidden);
  p.norm.emplace(random, p.hidden);
  if (random.chance(0.5)) {
    p.head_epsilon = random.chance(0.5) ? 1e-6f : 0.05f;
    p.query_norm = RandomNorm(random, d).weight;
    p.key_norm = RandomNorm(random, d).weight;
  }
  p.ropes = random_ropes(random, 200, d / 2);
  return p;
}

AttentionSpec spec_on(Machine& machine, const Problem& p) {
  AttentionSpec spec = p.spec;
  if (!p.query_norm.empty()) {
    spec.query_norm = {machine.pack_vector(p.query_norm), p.head_epsilon};
    spec.key_norm = {machine.pack_vector(p.key_norm), p.head_epsilon};
  }
  return spec;
}

// Several sequences whose rows begin anywhere; pages at random places of a pool.
StepInputs random_step(test::Random& random, int64_t rows, int64_t page_tokens, int64_t& pool) {
  std::vector<Span> spans;
  for (int64_t left = rows; left > 0; left -= spans.back().rows)
    spans.push_back({random.integer(0, 100), random.integer(1, left), {}});
  pool = 3;
  for (const Span& span : spans) pool += pages_for(span.begin + span.rows, page_tokens);
  const std::vector<int32_t> pages = shuffled_pages(random, pool);
  size_t taken = 0;
  for (Span& span : spans) {
    const size_t count = size_t(pages_for(span.begin + span.rows, page_tokens));
    span.pages.assign(pages.begin() + std::ptrdiff_t(taken), pages.begin() + std::ptrdiff_t(taken + count));
    taken += count;
  }
  return step_of(spans);
}

struct Outcome {
  FloatRows q, v, mixed;
};

// q as projected; V as stored, per query head; and attention over two positions with `probe` as the query.
Outcome run_problem(Machine& machine, const Problem& p, uint64_t layout_stream, const FloatRows& probe) {
  test::Random random(layout_stream);
  int64_t pool = 0;
  StepInputs in = random_step(random, p.rows, machine.info().page_tokens, pool);
  for (size_t r = 0; r < in.rope_tables.size(); ++r) in.rope_tables[r] = in.sequences[r] % 3;
  AttentionSpec spec = spec_on(machine, p);
  const int64_t queries = int64_t(spec.query_heads) * spec.head_dim;
  const KvCachePtr kv = machine.allocate_kv({2, spec.key_value_heads, spec.head_dim, p.kv_dtype}, pool);
  const Weight weight = p.w.on(machine);
  const Norm norm = p.norm->on(machine);
  const Rows x = write(machine, p.x, p.hidden), q = machine.allocate_rows(p.rows, queries);
  const Rows probes = write(machine, probe, queries), out = machine.allocate_rows(p.rows, queries);
  Outcome outcome;
  run_step(machine, in, [&] { machine.project_qkv(in, x, norm, weight, spec, p.ropes, {kv.get(), 1}, q); });
  outcome.q = read(machine, q, p.rows);
  EXPECT_EQ(read(machine, x, p.rows), p.x) << "x must stay as it was";
  spec.window = 1;
  run_step(machine, in, [&] { machine.attend(in, probes, spec, {kv.get(), 1}, out); });
  outcome.v = read(machine, out, p.rows);
  // The first row of a sequence has nothing stored before it: it keeps its window of one.
  spec.window = 2;
  StepInputs later = in;
  std::vector<int64_t> firsts;
  for (auto& sequence : later.sequence) {
    firsts.push_back(sequence.row_begin);
  }
  run_step(machine, later, [&] { machine.attend(later, probes, spec, {kv.get(), 1}, out); });
  outcome.mixed = read(machine, out, p.rows);
  for (int64_t r : firsts) outcome.mixed[size_t(r)].clear();
  return outcome;
}

// Values of one projected, normed and rotated head with a bound of each element's rounding error.
struct Bounded {
  std::vector<double> value, error;
};

Bounded head_of(const MachineInfo& info, const Problem& p, std::span<const double> normed, int64_t head,
                const std::vector<float>* head_norm, const RopeTable* rope, int64_t position) {
  const int64_t d = p.spec.head_dim;
  Bounded b;
  for (int64_t i = 0; i < d; ++i) {
    const double magnitude = p.w.magnitude(normed, head * d + i);
    b.value.push_back(p.w.product(normed, head * d + i));
    b.error.push_back(sum_error(info, p.packing, p.hidden + 1, magnitude) + norm_error(p.hidden) * magnitude);
  }
  if (head_norm != nullptr && !head_norm->empty()) {
    double squares = 0, drift = 0;
    for (size_t i = 0; i < b.value.size(); ++i) {
      squares += b.value[i] * b.value[i];
      drift += std::abs(b.value[i]) * b.error[i] + b.error[i] * b.error[i];
    }
    const double total = squares + double(d) * double(p.head_epsilon), scale = 1 / std::sqrt(total / double(d));
    for (size_t i = 0; i < b.value.size(); ++i) {
      const double weight = std::abs(double((*head_norm)[i])), size = std::abs(b.value[i]) + b.error[i];
      b.error[i] = scale * weight * (b.error[i] + size * (drift / total * 2 + norm_error(d)));
      b.value[i] *= scale * double((*head_norm)[i]);
    }
  }
  if (rope != nullptr)
    for (int64_t i = 0; i < d / 2; ++i) {
      const size_t lo = size_t(i), hi = size_t(i + d / 2), entry = size_t(position * (d / 2) + i);
      const double c = double(rope->cos[entry]), s = double(rope->sin[entry]);
      const double a = b.value[lo], z = b.value[hi], ea = b.error[lo], ez = b.error[hi];
      const double own = 4 * kUnit * (std::abs(a) + std::abs(z)) * 1.3;
      b.value[lo] = a * c - z * s;
      b.value[hi] = z * c + a * s;
      b.error[lo] = ea * std::abs(c) + ez * std::abs(s) + own;
      b.error[hi] = ez * std::abs(c) + ea * std::abs(s) + own;
    }
  return b;
}

class ProjectQkvContract : public Contract {
 protected:
  // q within its bound, V within its bound and of the cache's type.
  void check(const Problem& p, const Outcome& got, const Outcome& want, uint64_t layout_stream) {
    test::Random random(layout_stream);
    int64_t pool = 0;
    const StepInputs in = random_step(random, p.rows, machine_->info().page_tokens, pool);
    const int64_t d = p.spec.head_dim, group = p.spec.query_heads / p.spec.key_value_heads;
    const MachineInfo info = machine_->info();
    int64_t stored = 0, same = 0;
    for (size_t r = 0; r < size_t(p.rows); ++r) {
      const std::vector<double> normed = (*p.norm)(p.x[r]);
      const RopeTable& rope = *p.ropes.tables[size_t(in.sequences[r] % 3)];
      for (int64_t head = 0; head < p.spec.query_heads; ++head) {
        const Bounded q = head_of(info, p, normed, head, &p.query_norm, &rope, in.positions[r]);
        const Bounded v =
            head_of(info, p, normed, p.spec.query_heads + p.spec.key_value_heads + head / group, nullptr, nullptr, 0);
        double largest = 0;  // of V's head row
        for (int64_t i = 0; i < d; ++i) largest = std::max(largest, std::abs(double(got.v[r][size_t(head * d + i)])));
        for (int64_t i = 0; i < d; ++i) {
          const size_t at = size_t(head * d + i), j = size_t(i);
          ASSERT_NEAR(got.q[r][at], want.q[r][at], q.error[j])
              << "q, row " << r << ", head " << head << ", element " << i << " of " << d;
          ASSERT_NEAR(want.q[r][at], q.value[j], 1e-6 * (1 + std::abs(q.value[j]))) << "the reference itself";
          const double ulp = p.kv_dtype == KvType::kF16   ? std::max(0x1p-10 * std::abs(v.value[j]), 0x1p-24)
                             : p.kv_dtype == KvType::kF32 ? 0x1p-23 * std::abs(v.value[j])
                                                          : 1.01 * largest / 127;
          ASSERT_NEAR(got.v[r][at], want.v[r][at], v.error[j] + ulp)
              << "v, row " << r << ", head " << head << ", element " << i;
          check_kept(p.kv_dtype, got.v[r][at], largest);
          ++stored;
          // Two machines may scale an int8 row by factors a rounding apart: the integers are what is the same.
          const double slack = p.kv_dtype == KvType::kInt8 ? 0.1 * largest / 127 : 0;
          same += std::abs(double(got.v[r][at]) - double(want.v[r][at])) <= slack ? 1 : 0;
        }
      }
    }
    // Rounding to F16 or int8 hides almost every F32 rounding: a cache that truncates or rounds twice would show here.
    if (p.kv_dtype != KvType::kF32 && stored > 1000) {
      EXPECT_GT(double(same), 0.9 * double(stored));
    }
    check_keys(p, got, want, in);
  }

  // An element of V as read back: one that the cache's type can hold.
  static void check_kept(KvType type, float value, double largest) {
    if (type == KvType::kF16) {
      ASSERT_EQ(value, to_float(to_half(value))) << "v is not stored as f16";
    } else if (type == KvType::kInt8 && largest > 0) {
      const double whole = double(value) * 127 / largest;
      ASSERT_NEAR(whole, std::nearbyint(whole), 1e-3) << "v is not stored as int8";
    }
  }

  // Attention over two stored positions moves by at most the largest |v| times the change of a score.
  void check_keys(const Problem& p, const Outcome& got, const Outcome& want, const StepInputs& in) {
    const int64_t d = p.spec.head_dim, group = p.spec.query_heads / p.spec.key_value_heads;
    const MachineInfo info = machine_->info();
    for (size_t r = 1; r < size_t(p.rows); ++r) {
      if (want.mixed[r].empty()) continue;
      for (int64_t head = 0; head < p.spec.query_heads; ++head) {
        double change = 0, largest = 0;
        for (size_t key_row = r - 1; key_row <= r; ++key_row) {
          const Bounded k = head_of(info, p, (*p.norm)(p.x[key_row]), p.spec.query_heads + head / group, &p.key_norm,
                                    p.ropes.tables[size_t(in.sequences[r] % 3)].get(), in.positions[key_row]);
          double error = 0, size = 0, largest_key = 0;
          for (double x : k.value) largest_key = std::max(largest_key, std::abs(x));
          for (int64_t i = 0; i < d; ++i) {
            const double q = std::abs(double(probe_[r][size_t(head * d + i)]));
            const double step = p.kv_dtype == KvType::kInt8  ? 1.02 * largest_key / 127
                                : p.kv_dtype == KvType::kF16 ? 0x1p-10 * std::abs(k.value[size_t(i)])
                                                             : 0x1p-23 * std::abs(k.value[size_t(i)]);
            error += q * (k.error[size_t(i)] + step + 0x1p-24);
            size += q * std::abs(k.value[size_t(i)]);
            largest = std::max(largest, std::abs(double(want.v[key_row][size_t(head * d + i)])));
          }
          change += double(p.spec.scale) * (error + double(d + 8) * kUnit * size);
        }
        const double v_step = p.kv_dtype == KvType::kInt8 ? 1.02 / 127 : p.kv_dtype == KvType::kF16 ? 0x1p-9 : 0x1p-16;
        for (int64_t i = 0; i < d; ++i)
          ASSERT_NEAR(got.mixed[r][size_t(head * d + i)], want.mixed[r][size_t(head * d + i)],
                      largest * (change + v_step) + 1e-6)
              << "two positions, row " << r << ", head " << head << ", element " << i;
      }
    }
  }

  FloatRows probe_;
};

TEST_P(ProjectQkvContract, EqualsTheReferenceWithinRounding) {
  test::Random random(60);
  for (int round = 0; round < 25; ++round) {
    const Problem p = random_problem(random);
    probe_ = random_rows(random, p.rows, int64_t(p.spec.query_heads) * p.spec.head_dim);
    for (auto& row : probe_)
      for (float& x : row) x = std::clamp(x, -1.0f, 1.0f);
    const Outcome got = run_problem(*machine_, p, uint64_t(round) + 1000, probe_);
    const Outcome want = run_problem(*reference_, p, uint64_t(round) + 1000, probe_);
    SCOPED_TRACE(testing::Message() << "round " << round << ", hidden " << p.hidden << ", rows " << p.rows << ", heads "
                                    << p.spec.query_heads << "/" << p.spec.key_value_heads << " x " << p.spec.head_dim
                                    << ", " << name(p.packing) << ", kv " << name(p.kv_dtype) << ", q/k norms "
                                    << !p.query_norm.empty());
    check(p, got, want, uint64_t(round) + 1000);
    if (HasFatalFailure()) return;
  }
}

UPDRAFT_ON_EVERY_MACHINE(ProjectQkvContract);

}  // namespace
}  // namespace updraft::compute
