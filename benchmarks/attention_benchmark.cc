// Attention of one layer in Mistral-7B's shape (32 query heads on 8 key/value heads of 128, F16). Decode rotates
// through layers that together are far larger than any cache, and is compared with plainly reading the same memory;
// prefill reports arithmetic.   --benchmark_filter=attend/avx512
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "compute/cpu/attention.h"
#include "compute/cpu/instruction_set.h"
#include "compute/cpu/kv_cache.h"

namespace updraft::compute::cpu {
namespace {

constexpr int kQueryHeads = 32, kKeyValueHeads = 8, kHeadDim = 128;
constexpr int64_t kColumns = kQueryHeads * kHeadDim;
constexpr int64_t kBytesToRotate = int64_t(5) << 29;

struct Setup {
  Setup(int threads, int64_t context, int64_t rows, int64_t bytes, KvType dtype = KvType::kF16)
      : team(threads), scratch(threads) {
    const int64_t pages = (context + kPageTokens - 1) / kPageTokens;
    const int64_t layer_bytes = pages * kPageTokens * kKeyValueHeads * 2 * head_row_bytes(dtype, kHeadDim);
    const KvGeometry geometry{int(std::max<int64_t>(1, bytes / layer_bytes)), kKeyValueHeads, kHeadDim, dtype};
    cache = make_kv_cache(geometry, pages, &team);
    scratch.reserve(geometry, pages);
    scratch.reserve_rows(rows);
    in.page_tables.resize(size_t(pages));
    std::iota(in.page_tables.begin(), in.page_tables.end(), 0);
    cache->fill_pages(in.page_tables, 1);
    in.sequence.push_back({0, int32_t(rows), 0, int32_t(pages)});
    for (int64_t r = 0; r < rows; ++r) {
      in.ids.push_back(0);
      in.positions.push_back(int32_t(context - rows + r));
      in.sequences.push_back(0);
      in.rope_tables.push_back(0);
    }
    spec.query_heads = kQueryHeads;
    spec.key_value_heads = kKeyValueHeads;
    spec.head_dim = kHeadDim;
    spec.scale = 1 / std::sqrt(float(kHeadDim));
    q.resize(size_t(rows * kColumns));
    for (size_t i = 0; i < q.size(); ++i) q[i] = std::sin(float(i));
    out.resize(q.size());
  }

  ThreadTeam team;
  AttentionScratch scratch;
  KvCachePtr cache;
  StepInputs in;
  AttentionSpec spec;
  std::vector<float> q, out;
};

void decode(benchmark::State& state, const Kernels* kernels, int threads, int64_t bytes, KvType dtype) {
  Setup setup(threads, state.range(0), 1, bytes, dtype);
  int layer = 0;
  for (auto _ : state) {
    attend(*kernels, setup.team, setup.scratch, setup.in, setup.q.data(), setup.spec, {setup.cache.get(), layer},
           setup.out.data());
    layer = (layer + 1) % setup.cache->geometry.layers;
  }
  state.SetBytesProcessed(state.iterations() * setup.cache->bytes / setup.cache->geometry.layers);
}

void read_memory(benchmark::State& state, const Kernels* kernels, int threads) {
  Setup setup(threads, 4096, 1, kBytesToRotate);
  const auto* data = reinterpret_cast<const float*>(kv_blocks(*setup.cache).data);
  const int64_t piece = 1 << 14;
  std::vector<float> sums(static_cast<size_t>(threads) * 16);
  for (auto _ : state)
    setup.team.parallel_for(setup.cache->bytes / 4 / piece, 16, [&](int64_t begin, int64_t end, int member) {
      for (int64_t i = begin; i < end; ++i)
        sums[size_t(member) * 16] += kernels->vector.dot(data + i * piece, data + i * piece, piece);
    });
  benchmark::DoNotOptimize(sums.data());
  state.SetBytesProcessed(state.iterations() * setup.cache->bytes);
}

void prefill(benchmark::State& state, const Kernels* kernels, int threads) {
  const int64_t context = state.range(0), rows = state.range(1);
  Setup setup(threads, context, rows, 0);
  for (auto _ : state)
    attend(*kernels, setup.team, setup.scratch, setup.in, setup.q.data(), setup.spec, {setup.cache.get(), 0},
           setup.out.data());
  const double keys = double(rows) * double(context - rows) + double(rows) * double(rows + 1) / 2;
  state.counters["flop/s"] = benchmark::Counter(4.0 * kColumns * keys, benchmark::Counter::kIsIterationInvariantRate,
                                                benchmark::Counter::OneK::kIs1000);
}

void finish(benchmark::State& state, const Kernels* kernels, int threads) {
  const int64_t rows = state.range(0), columns = (kQueryHeads + 2 * kKeyValueHeads) * kHeadDim;
  Setup setup(threads, rows, rows, 0);
  auto table = std::make_shared<RopeTable>();
  table->positions = rows;
  table->pairs = kHeadDim / 2;
  table->cos.assign(size_t(rows * table->pairs), 0.8f);
  table->sin.assign(size_t(rows * table->pairs), 0.6f);
  const RopeTables ropes{{table}};
  const std::vector<float> qkv(size_t(rows * columns), 0.5f);
  for (auto _ : state)
    finish_qkv(*kernels, setup.team, setup.in, qkv.data(), setup.spec, {}, ropes, {setup.cache.get(), 0},
               setup.q.data());
  state.SetItemsProcessed(state.iterations() * rows);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const InstructionSet& set : available_instruction_sets()) {
    if (set.tiles != nullptr) continue;
    for (int threads = 1; threads <= available_processors(); threads *= 2) {
      const std::string suffix = "/" + set.name + "/threads:" + std::to_string(threads);
      const Kernels* kernels = set.kernels;
      const auto with = [&](const std::string& name, auto function) {
        return benchmark::RegisterBenchmark((name + suffix).c_str(), function)->UseRealTime();
      };
      with("read", [=](benchmark::State& s) { read_memory(s, kernels, threads); });
      with("attend_decode_cached", [=](benchmark::State& s) { decode(s, kernels, threads, 0, KvType::kF16); })
          ->ArgName("context")
          ->Arg(256);
      for (KvType dtype : {KvType::kF16, KvType::kF32})
        with("attend_decode_" + std::string(name(dtype)),
             [=](benchmark::State& s) { decode(s, kernels, threads, kBytesToRotate, dtype); })
            ->ArgName("context")
            ->Arg(512)
            ->Arg(4096)
            ->Arg(32768);
      with("attend_prefill", [=](benchmark::State& s) { prefill(s, kernels, threads); })
          ->ArgNames({"context", "rows"})
          ->Args({256, 256})
          ->Args({4096, 256})
          ->Args({4096, 4096})
          ->Args({32768, 256});
      with("finish_qkv", [=](benchmark::State& s) { finish(s, kernels, threads); })->ArgName("rows")->Arg(1)->Arg(256);
    }
  }
  return true;
}();

}  // namespace
}  // namespace updraft::compute::cpu

BENCHMARK_MAIN();
