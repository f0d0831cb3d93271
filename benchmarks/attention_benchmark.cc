// Attention of one layer in Mistral-7B's shape (32 query heads on 8 key/value heads of 128). Decode rotates through
// layers that together are far larger than any cache, in turns with plainly reading as many bytes of the same memory:
// `of_read` is the median ratio of the two speeds. Prefill reports arithmetic.   --benchmark_filter=decode.*avx512
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "compute/cpu/attention.h"
#include "compute/cpu/instruction_set.h"
#include "compute/cpu/kv_cache.h"
#include "compute/cpu/plain_read.h"

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

double seconds(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void decode(benchmark::State& state, const Kernels* kernels, int threads, int64_t bytes, KvType dtype) {
  Setup setup(threads, state.range(0), 1, bytes, dtype);
  const int layers = setup.cache->geometry.layers;
  const int64_t bytes_of_layer = setup.cache->bytes / layers;
  const auto bytes_of = [&](int i) {
    return PlainRead::Bytes(kv_blocks(*setup.cache).of_head(i, 0), size_t(bytes_of_layer));
  };
  PlainRead plain_read;
  std::vector<PlainRead::Bytes> all;
  for (int i = 0; i < layers; ++i) all.push_back(bytes_of(i));
  plain_read.pass(setup.team, all);  // finds the fastest pattern
  int layer = 0;
  std::vector<double> ratios;
  for (auto _ : state) {
    const double attending = seconds([&] {
      attend(*kernels, setup.team, setup.scratch, setup.in, setup.q.data(), setup.spec, {setup.cache.get(), layer},
             setup.out.data());
    });
    state.SetIterationTime(attending);
    const double read = plain_read.pass(setup.team, std::array{bytes_of((layer + layers / 2) % layers)});
    ratios.push_back(double(bytes_of_layer) / attending / read);
    layer = (layer + 1) % layers;
  }
  std::nth_element(ratios.begin(), ratios.begin() + std::ptrdiff_t(ratios.size() / 2), ratios.end());
  state.counters["of_read"] = ratios[ratios.size() / 2];
  state.SetBytesProcessed(state.iterations() * bytes_of_layer);
}

void prefill(benchmark::State& state, const Kernels* kernels, int threads, KvType dtype) {
  const int64_t context = state.range(0), rows = state.range(1);
  Setup setup(threads, context, rows, 0, dtype);
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
        return benchmark::RegisterBenchmark((name + suffix).c_str(), function);
      };
      for (KvType dtype : kKvTypes) {
        const std::string type(name(dtype));
        with("attend_decode_cached_" + type, [=](benchmark::State& s) { decode(s, kernels, threads, 0, dtype); })
            ->UseManualTime()
            ->ArgName("context")
            ->Arg(256)
            ->Arg(512);
        with("attend_decode_" + type, [=](benchmark::State& s) { decode(s, kernels, threads, kBytesToRotate, dtype); })
            ->UseManualTime()
            ->ArgName("context")
            ->Arg(512)
            ->Arg(4096)
            ->Arg(32768);
        with("attend_prefill_" + type, [=](benchmark::State& s) { prefill(s, kernels, threads, dtype); })
            ->UseRealTime()
            ->ArgNames({"context", "rows"})
            ->Args({256, 256})
            ->Args({4096, 256})
            ->Args({4096, 4096})
            ->Args({32768, 256});
      }
      with("finish_qkv", [=](benchmark::State& s) { finish(s, kernels, threads); })
          ->UseRealTime()
          ->ArgName("rows")
          ->Arg(1)
          ->Arg(256);
    }
  }
  return true;
}();

}  // namespace
}  // namespace updraft::compute::cpu

BENCHMARK_MAIN();
