// finish_qkv and attend against plain double loops over random shapes, and == between everything that must not matter:
// instruction sets, threads, chunkings, companions in the batch, page placement, what unused slots hold.
#include "compute/cpu/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/kv_cache.h"
#include "tests/compute/emulated.h"
#include "tests/compute/hash.h"
#include "tests/support/random.h"

namespace updraft::compute::cpu {
namespace {

struct Shape {
  int query_heads, key_value_heads, head_dim, window;
  KvType dtype;
  bool norms;
  std::vector<int> tokens;  // of each sequence

  int qkv_columns() const { return (query_heads + 2 * key_value_heads) * head_dim; }
  int out_columns() const { return query_heads * head_dim; }
};

std::string describe(const Shape& s) {
  std::string text = std::to_string(s.query_heads) + "/" + std::to_string(s.key_value_heads) + " heads of " +
                     std::to_string(s.head_dim) + ", window " + std::to_string(s.window) + ", " +
                     std::string(name(s.dtype)) + (s.norms ? ", norms" : "") + ", tokens";
  for (int n : s.tokens) text += " " + std::to_string(n);
  return text;
}

// A shape with its inputs: qkv rows of every position of every sequence, the RoPE table, norm weights.
struct Problem {
  Shape shape;
  std::vector<std::vector<float>> qkv;  // per sequence [tokens, qkv_columns]
  RopeTables ropes;
  std::vector<float> query_norm, key_norm;

  AttentionSpec spec() const {
    AttentionSpec s;
    s.query_heads = shape.query_heads;
    s.key_value_heads = shape.key_value_heads;
    s.head_dim = shape.head_dim;
    s.window = shape.window;
    s.scale = 1 / std::sqrt(float(shape.head_dim));
    return s;
  }
};

Problem make_problem(const Shape& shape, uint64_t seed) {
  std::mt19937_64 random(seed);
  // Integers to floats, exactly: the same on every architecture (library functions might differ in the last bit).
  const auto uniform = [&] { return float(int32_t(random())) * 0x1p-31f; };
  Problem problem{.shape = shape, .qkv = {}, .ropes = {}, .query_norm = {}, .key_norm = {}};
  int longest = 1;
  for (int tokens : shape.tokens) {
    longest = std::max(longest, tokens);
    problem.qkv.emplace_back(size_t(tokens) * size_t(shape.qkv_columns()));
    for (float& x : problem.qkv.back()) x = 2 * uniform();
  }
  auto table = std::make_shared<RopeTable>();
  table->positions = longest;
  table->pairs = shape.head_dim / 2;
  for (int p = 0; p < longest; ++p)
    for (int64_t i = 0; i < table->pairs; ++i) {
      const float t = uniform(), norm = 1 / (1 + t * t);  // a rotation by 2 atan t
      table->cos.push_back((1 - t * t) * norm);
      table->sin.push_back(2 * t * norm);
    }
  problem.ropes.tables = {table};
  if (shape.norms)
    for (int i = 0; i < shape.head_dim; ++i)
      problem.query_norm.push_back(1 + 0.5f * uniform()), problem.key_norm.push_back(1 + 0.5f * uniform());
  return problem;
}

// Everything that must not change a bit.
struct Variant {
  const Kernels* kernels = nullptr;
  int threads = 1;
  uint64_t seed = 0;  // of chunk lengths, page order and who shares a step
  int longest_chunk = 1000;
  bool together = true;    // several sequences in one step
  uint8_t garbage = 0xff;  // what untouched pages hold: 0xff makes NaN
};

constexpr float kEpsilon = 1e-5f;

// out[sequence] [tokens, out_columns]
std::vector<std::vector<float>> run(const Problem& problem, const Variant& variant) {
  const Shape& shape = problem.shape;
  std::mt19937_64 random(variant.seed);
  ThreadTeam team(variant.threads);
  std::vector<std::vector<int32_t>> tables;
  int32_t pages = 3;  // some that nobody uses
  for (int tokens : shape.tokens) pages += int32_t((tokens + kPageTokens - 1) / kPageTokens);
  std::vector<int32_t> order(static_cast<size_t>(pages));
  for (int32_t i = 0; i < pages; ++i) order[size_t(i)] = i;
  std::shuffle(order.begin(), order.end(), random);
  for (int tokens : shape.tokens)
    for (tables.emplace_back(); int64_t(tables.back().size()) * kPageTokens < tokens; order.pop_back())
      tables.back().push_back(order.back());

  const int layers = 2, layer = int(random() % 2);
  auto cache = make_kv_cache({layers, shape.key_value_heads, shape.head_dim, shape.dtype}, pages, &team);
  std::memset(kv_blocks(*cache).data, variant.garbage, size_t(layers * kv_blocks(*cache).layer_bytes));
  AttentionScratch scratch(variant.threads);
  scratch.reserve(cache->geometry, pages);

  std::vector<std::vector<float>> outputs;
  for (int tokens : shape.tokens) outputs.emplace_back(size_t(tokens) * size_t(shape.out_columns()));
  std::vector<int> done(shape.tokens.size());
  const HeadNorms norms{shape.norms ? problem.query_norm.data() : nullptr,
                        shape.norms ? problem.key_norm.data() : nullptr, kEpsilon, kEpsilon};
  const AttentionSpec spec = problem.spec();
  for (;;) {
    StepInputs in;
    std::vector<float> qkv;
    std::vector<size_t> who;
    for (size_t s = 0; s < shape.tokens.size(); ++s) {
      const int left = shape.tokens[s] - done[s];
      if (left == 0 || (!in.sequence.empty() && !(variant.together && random() % 4 != 0))) continue;
      const int rows = std::min(left, 1 + int(random() % uint64_t(variant.longest_chunk)));
      StepInputs::Sequence sequence{int32_t(in.rows()), rows, int32_t(in.page_tables.size()),
                                    int32_t(tables[s].size())};
      for (int32_t page : tables[s]) {
        const int64_t index = int64_t(in.page_tables.size()) - sequence.page_table_begin;
        const bool behind = shape.window > 0 && (index + 1) * kPageTokens <= done[s] - shape.window + 1;
        in.page_tables.push_back(behind ? -1 : page);
      }
      for (int r = 0; r < rows; ++r) {
        in.ids.push_back(0);
        in.positions.push_back(done[s] + r);
        in.sequences.push_back(int32_t(in.sequence.size()));
        in.rope_tables.push_back(0);
      }
      const float* from = problem.qkv[s].data() + int64_t(done[s]) * shape.qkv_columns();
      qkv.insert(qkv.end(), from, from + int64_t(rows) * shape.qkv_columns());
      in.sequence.push_back(sequence);
      who.push_back(s);
    }
    if (in.sequence.empty()) return outputs;
    scratch.reserve_rows(in.rows());
    std::vector<float> q(size_t(in.rows() * shape.out_columns())), out(q.size(), -1e30f);
    finish_qkv(*variant.kernels, team, in, qkv.data(), spec, norms, problem.ropes, {cache.get(), layer}, q.data());
    attend(*variant.kernels, team, scratch, in, q.data(), spec, {cache.get(), layer}, out.data());
    for (size_t i = 0; i < who.size(); ++i) {
      const StepInputs::Sequence& sequence = in.sequence[i];
      std::copy_n(out.data() + int64_t(sequence.row_begin) * shape.out_columns(),
                  int64_t(sequence.row_count) * shape.out_columns(),
                  outputs[who[i]].data() + int64_t(done[who[i]]) * shape.out_columns());
      done[who[i]] += sequence.row_count;
    }
  }
}

// A head as finish_qkv makes it. Without norms the same float operations, so that rounding to F16 agrees.
std::vector<double> rotated(const Problem& problem, const float* x, const std::vector<float>& norm, int position) {
  const int dim = problem.shape.head_dim, half = dim / 2;
  std::vector<double> in(x, x + dim), out(in.size());
  if (!norm.empty()) {
    double squares = 0;
    for (double v : in) squares += v * v;
    for (int i = 0; i < dim; ++i) in[size_t(i)] *= norm[size_t(i)] / std::sqrt(squares / dim + double(kEpsilon));
  }
  const RopeTable& table = *problem.ropes.tables[0];
  for (int i = 0; i < half; ++i) {
    const float c = table.cos[size_t(position * half + i)], s = table.sin[size_t(position * half + i)];
    const float low = float(in[size_t(i)]), high = float(in[size_t(i + half)]);
    out[size_t(i)] = double(std::fmaf(-high, s, low * c));
    out[size_t(i + half)] = double(std::fmaf(low, s, high * c));
  }
  return out;
}

std::vector<std::vector<float>> plain(const Problem& problem) {
  const Shape& shape = problem.shape;
  const int dim = shape.head_dim, group = shape.query_heads / shape.key_value_heads;
  const auto rounded = [&](std::vector<double>& row) {
    float most = 0;
    for (double x : row) most = std::max(most, std::abs(float(x)));
    const float inverse = 127 / most, scale = most / 127;
    for (double& x : row)
      x = shape.dtype == KvType::kInt8  ? double(std::nearbyint(float(x) * inverse)) * double(scale)
          : shape.dtype == KvType::kF16 ? double(to_float(to_half(float(x))))
                                        : double(float(x));
  };
  std::vector<std::vector<float>> outputs;
  for (size_t s = 0; s < shape.tokens.size(); ++s) {
    const int tokens = shape.tokens[s];
    std::vector<float>& out = outputs.emplace_back(size_t(tokens) * size_t(shape.out_columns()));
    const auto head = [&](int t, int h) { return problem.qkv[s].data() + size_t(t * shape.qkv_columns() + h * dim); };
    for (int h = 0; h < shape.query_heads; ++h) {
      const int kv = h / group;
      std::vector<std::vector<double>> keys, values;
      for (int t = 0; t < tokens; ++t) {
        keys.push_back(rotated(problem, head(t, shape.query_heads + kv), problem.key_norm, t));
        rounded(keys.back());
        const float* v = head(t, shape.query_heads + shape.key_value_heads + kv);
        values.emplace_back(v, v + dim);
        rounded(values.back());
      }
      for (int t = 0; t < tokens; ++t) {
        const std::vector<double> q = rotated(problem, head(t, h), problem.query_norm, t);
        std::vector<double> sum(size_t(dim), 0.0);
        double total = 0;
        for (int u = shape.window > 0 ? std::max(0, t - shape.window + 1) : 0; u <= t; ++u) {
          double score = 0;
          for (int i = 0; i < dim; ++i) score += q[size_t(i)] * keys[size_t(u)][size_t(i)];
          const double weight = std::exp(score / std::sqrt(double(dim)));
          total += weight;
          for (int i = 0; i < dim; ++i) sum[size_t(i)] += weight * values[size_t(u)][size_t(i)];
        }
        for (int i = 0; i < dim; ++i)
          out[size_t((t * shape.query_heads + h) * dim + i)] = float(sum[size_t(i)] / total);
      }
    }
  }
  return outputs;
}

double largest_difference(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  double largest = 0;
  for (size_t s = 0; s < a.size(); ++s)
    for (size_t i = 0; i < a[s].size(); ++i) {
      const double difference = std::abs(double(a[s][i]) - double(b[s][i]));
      largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
    }
  return largest;
}

bool same_bits(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  for (size_t s = 0; s < a.size(); ++s)
    if (std::memcmp(a[s].data(), b[s].data(), a[s].size() * sizeof(float)) != 0) return false;
  return a.size() == b.size();
}

Shape random_shape(std::mt19937_64& random) {
  const auto below = [&](int n) { return int(random() % uint64_t(n)); };
  const int group = 1 + below(9), heads = 1 + below(3);
  const int dims[] = {2, 6, 16, 30, 40, 64, 80, 96, 112, 128, 256};
  const int windows[] = {0, 0, 1, 5, 64, 100, 200};
  Shape shape{group * heads, heads, dims[below(11)], windows[below(7)], kKvTypes[below(3)], below(4) == 0, {}};
  for (int i = 1 + below(3); i > 0; --i) shape.tokens.push_back(1 + below(i == 1 ? 300 : 90));
  return shape;
}

TEST(Attention, AgreesWithDoublePrecision) {
  std::mt19937_64 random(test::run_seed());
  for (int round = 0; round < (kEmulated ? 12 : 24); ++round) {
    const Problem problem = make_problem(random_shape(random), random());
    SCOPED_TRACE(describe(problem.shape));
    const auto expected = plain(problem);
    // With norms the float and the double k may round to neighbouring halves, or eighths of bits. Integer products take
    // q and the weights in 16 bits: q, at most 2.83, is off by up to 2.83 / 65534, evenly, so a score (k: 1.2 in the
    // mean square) by 3e-5 in the mean square, and what is attended by that times twice |v - out|: 4e-4 is eight times
    // that. The most seen in 240 seeds: 2.2e-4.
    const KvType type = problem.shape.dtype;
    const double tolerance = type == KvType::kF32  ? 2e-5
                             : problem.shape.norms ? (type == KvType::kF16 ? 4e-3 : 0.1)
                                                   : (type == KvType::kF16 ? 2e-5 : 4e-4);
    for (const Kernels* kernels : available_kernels()) {
      Variant variant{.kernels = kernels, .threads = 1 + int(random() % 3), .seed = random()};
      variant.longest_chunk = 1 + int(random() % 100);
      EXPECT_LT(largest_difference(run(problem, variant), expected), tolerance) << kernels->name;
    }
  }
}

TEST(Attention, SameBitsWhateverElseHappens) {
  std::mt19937_64 random(test::run_seed() + 1);
  for (int round = 0; round < (kEmulated ? 6 : 30); ++round) {
    Shape shape = random_shape(random);
    if (round % 3 == 0) {  // several spans: the split path
      shape.head_dim = std::min(shape.head_dim, 32);
      shape.tokens = {1400, 600};
      shape.window = round % 2 == 0 ? 0 : 520 + int(random() % 300);  // the window's edge crosses spans within a block
    }
    const Problem problem = make_problem(shape, random());
    SCOPED_TRACE(describe(problem.shape));
    const auto expected = run(problem, {.kernels = available_kernels()[0]});
    for (const Kernels* kernels : available_kernels())
      for (int longest_chunk : {7, 70, 1000}) {
        Variant variant{.kernels = kernels, .threads = 1 + int(random() % 4), .seed = random()};
        variant.longest_chunk = longest_chunk;
        variant.together = random() % 2 == 0;
        variant.garbage = uint8_t(random() % 2 == 0 ? 0xff : random());
        EXPECT_TRUE(same_bits(run(problem, variant), expected))
            << kernels->name << ", chunks up to " << longest_chunk << ", " << variant.threads << " threads";
      }
  }
}

uint64_t hash_of(const Kernels* kernels, std::initializer_list<KvType> types) {
  Hash hash;
  for (KvType type : types)
    for (const Shape& shape : {Shape{8, 2, 64, 0, type, false, {150}}, Shape{6, 2, 40, 100, type, true, {230, 33}},
                               Shape{3, 1, 16, 0, type, false, {1100}}})
      for (const std::vector<float>& out : run(make_problem(shape, 7), {.kernels = kernels, .longest_chunk = 200}))
        hash.add(out);
  return hash.value;
}

// The constants were made on AVX-512; AVX2 and NEON (under qemu) give the same. A change of the numerics changes them.
TEST(Attention, SameBitsOnEveryArchitecture) {
  for (const Kernels* kernels : available_kernels()) {
    EXPECT_EQ(hash_of(kernels, {KvType::kF16, KvType::kF32}), uint64_t{2325413945739896697u}) << kernels->name;
    EXPECT_EQ(hash_of(kernels, {KvType::kInt8}), uint64_t{15624920550971777019u}) << kernels->name;
  }
}

}  // namespace
}  // namespace updraft::compute::cpu
