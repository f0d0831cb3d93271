// project_add, gated_project and logits of the CPU machine on Mistral-7B's shapes, each with what bounds it: GB/s of
// weights for few rows, operations/s for many. `probe` lines give the peaks of the same processor in the same process.
// Products of up to 16 rows also say which part they are of a plain read measured in turns with them (`of_read`), those
// of 64 and more on tiles of the tiles' register peak (`of_peak`). Environment-free: the thread count is every
// processor this process may use; pick lines with --benchmark_filter.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <optional>

#include "base/half.h"
#include "base/quantized_rows.h"
#include "base/thread_team.h"
#include "compute/cpu/instruction_set.h"
#include "compute/machine.h"
#include "compute/probe.h"
#include "in_turns.h"

namespace {

using namespace updraft;
using namespace updraft::compute;

// Values of a trained weight's magnitude, cheap to make: speed does not depend on them.
class Noise final : public RowSource {
 public:
  Noise(int64_t rows, int64_t columns, DType type) : RowSource(rows, columns, type) {}
  void read_rows(int64_t begin, int64_t end, void* out) const override {
    uint32_t state = uint32_t(begin) * 2654435761u + 12345u;
    const int64_t count = (end - begin) * columns();
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float x = (float(state >> 8) * 0x1p-24f - 0.5f) / 16;
      if (dtype() == DType::kF32) {
        static_cast<float*>(out)[i] = x;
      } else {
        static_cast<uint16_t*>(out)[i] =
            uint16_t(dtype() == DType::kF16 ? 0x2000 + (state >> 22) : 0x3c00 + (state >> 24));
      }
    }
  }
};

// Integers of a trained weight's size, likewise.
class NoiseIntegers final : public QuantizedRowSource {
 public:
  NoiseIntegers(int64_t rows, int64_t columns, const QuantizedFormat& format)
      : QuantizedRowSource(rows, columns, format) {}
  void read_quantized(int64_t begin, int64_t end, const QuantizedRows& out) const override {
    uint32_t state = uint32_t(begin) * 2654435761u + 12345u;
    for (int64_t i = 0; i < (end - begin) * columns(); ++i) {
      state = state * 1664525u + 1013904223u;
      out.integers[i] = uint8_t((state >> 24) & uint32_t(format().largest()));
    }
    for (int64_t i = 0; i < (end - begin) * format().groups(columns()); ++i) {
      out.scales[i] = 0x1800;
      if (format().offset != Offset::kNone) out.offsets[i] = 0x9800;
    }
  }
};

// What a matrix is made from: F32, F16, BF16 or an integer format.
struct Kept {
  Packing packing = Packing::kF32;
  QuantizedFormat format;

  std::string label() const { return is_integer(packing) ? updraft::name(format) : std::string(name(packing)); }
  RowSourcePtr source(int64_t rows, int64_t columns) const {
    if (is_integer(packing)) return std::make_shared<NoiseIntegers>(rows, columns, format);
    const DType type = packing == Packing::kF32 ? DType::kF32 : packing == Packing::kF16 ? DType::kF16 : DType::kBF16;
    return std::make_shared<Noise>(rows, columns, type);
  }
};

// As many copies of a matrix as exceed the last-level cache, so that decode reads memory and not cache.
struct Product {
  std::vector<Weight> weights;
  Rows in, out, half;
  StepInputs step;
  Norm norm;
};

Product make_product(Machine& machine, const Kept& kept, int64_t outputs, int64_t columns, int64_t rows,
                     int64_t bytes) {
  Product p;
  MatrixSource source;
  source.parts.push_back({kept.source(outputs, columns), nullptr});
  int64_t total = 0;
  do {
    p.weights.push_back(machine.pack(source, kept.packing));
    total += p.weights.back()->bytes;
  } while (total < bytes);
  p.in = machine.allocate_rows(rows, columns);
  p.out = machine.allocate_rows(rows, outputs);
  p.half = machine.allocate_rows(rows, outputs / 2);
  p.norm = {machine.pack_vector(std::vector<float>(size_t(columns), 1.0f)), 1e-5f};
  std::vector<float> values(static_cast<size_t>(columns));
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = float((i * 7 + size_t(r) * 13) % 64) / 32 - 1;
    machine.write_row(p.in, r, values);
    p.step.ids.push_back(0);
    p.step.output_rows.push_back(int32_t(r));
  }
  return p;
}

enum class Verb { kProjectAdd, kGatedProject, kLogits };

void run(benchmark::State& state, const cpu::InstructionSet& set, Verb verb, const Kept& kept, int64_t outputs,
         int64_t columns, int64_t rows, int threads) {
  const bool on_tiles = set.tiles != nullptr;
  MachineOptions options;
  options.instruction_set = set.name;
  options.activations = on_tiles ? Activations::kBF16x2 : Activations::kF32;
  options.threads = threads;
  const std::unique_ptr<Machine> machine = make_cpu(options);
  const int64_t enough = rows <= 16 ? int64_t(2) << 30 : 1;
  const Product p = make_product(*machine, kept, outputs, columns, rows, enough);
  const double operations = 2 * double(outputs) * double(columns) * double(rows);
  std::optional<InTurns> turns;
  if (rows <= 16) {
    const auto read = [&, next = size_t(1)]() mutable {
      return machine->read_plainly({&p.weights[next++ % p.weights.size()], 1});
    };
    machine->read_plainly(p.weights);  // finds the fastest pattern
    turns.emplace("read", read, double(p.weights[0]->bytes));
  }
#if defined(__x86_64__)
  if (on_tiles && rows >= 64) {
    if (is_integer(kept.packing)) {
      turns.emplace("peak", tile_peak(cpu::probe_int8_amx, threads), operations);
    } else {
      turns.emplace("peak", tile_peak(cpu::probe_bf16_amx, threads), 2 * operations);  // two terms
    }
  }
#endif
  size_t next = 0;
  for (auto _ : state) {
    if (turns) turns->begin_turn();
    const Weight& w = p.weights[next++ % p.weights.size()];
    machine->run({rows, rows}, [&] {
      switch (verb) {
        case Verb::kProjectAdd:
          machine->project_add(p.step, p.in, w, p.out);
          break;
        case Verb::kGatedProject:
          machine->gated_project(p.step, p.in, p.norm, w, p.half);
          break;
        case Verb::kLogits:
          machine->logits(p.step, p.in, p.norm, w, p.out);
          break;
      }
    });
    if (!turns) continue;
    state.PauseTiming();
    turns->end_turn();
    state.ResumeTiming();
  }
  if (turns) turns->report(state);
  const double calls = double(state.iterations());
  using benchmark::Counter;
  state.counters["bytes/s"] = Counter(calls * double(p.weights[0]->bytes), Counter::kIsRate);
  state.counters["op/s"] = Counter(calls * operations, Counter::kIsRate);
}

template <class Probe>  // std::pair<double, std::string> (per second, label) = probe()
void add_probe(const std::string& name, int threads, Probe measure) {
  benchmark::RegisterBenchmark(fmt::format("probe/{}/threads:{}", name, threads).c_str(),
                               [measure](benchmark::State& state) {
                                 for (auto _ : state) {
                                   const auto [per_second, label] = measure();
                                   state.counters["per_second"] = per_second;
                                   state.SetLabel(label);
                                 }
                               })
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime()
      ->UseRealTime();
}

void add_probes(int threads) {
  using Result = std::pair<double, std::string>;
  add_probe("read_bandwidth", threads, [=] {
    const ReadBandwidth read = probe_read_bandwidth(threads);
    return Result(read.bytes_per_second, fmt::format("{} passes over {} MB", read.passes, read.bytes / 1000000));
  });
  add_probe("peaks", threads, [=] {
    std::string all;
    double first = 0;
    for (const Peak& peak : probe_peaks(threads)) {
      if (all.empty()) first = peak.per_second;
      all += fmt::format("{} {:.4g} G{}  ", peak.name, peak.per_second / 1e9, peak.unit);
    }
    return Result(first, all);
  });
}

void add_products(int threads) {
  struct Shape {
    const char* name;
    Verb verb;
    int64_t outputs, columns;
  };
  const Shape shapes[] = {{"project_add/output", Verb::kProjectAdd, 4096, 4096},
                          {"project_add/down", Verb::kProjectAdd, 4096, 14336},
                          {"gated_project/gate_up", Verb::kGatedProject, 28672, 4096},
                          {"logits/head", Verb::kLogits, 32000, 4096}};
  std::vector<Kept> kinds = {{Packing::kF32, {}}, {Packing::kF16, {}}, {Packing::kBF16, {}}};
  for (const auto& [bits, group, offset] : {std::tuple(8, 128, Offset::kNone), std::tuple(4, 128, Offset::kNone),
                                            std::tuple(4, 128, Offset::kPoint), std::tuple(4, 32, Offset::kMinimum)}) {
    QuantizedFormat format;
    format.bits = bits;
    format.group = group;
    format.offset = offset;
    kinds.push_back({packing_of(format), format});
  }
  for (const cpu::InstructionSet& set : cpu::available_instruction_sets())
    for (const Shape& shape : shapes)
      for (const Kept& kept : kinds)
        for (int64_t rows : {1, 2, 4, 8, 16, 32, 64, 256}) {
          if (set.tiles != nullptr && (kept.packing == Packing::kF32 || kept.packing == Packing::kF16))
            continue;  // the same as without tiles
          benchmark::RegisterBenchmark(
              fmt::format("{}/{}/{}/rows:{}/threads:{}", shape.name, set.name, kept.label(), rows, threads).c_str(),
              [=](benchmark::State& state) {
                run(state, set, shape.verb, kept, shape.outputs, shape.columns, rows, threads);
              })
              ->Unit(benchmark::kMillisecond)
              ->MeasureProcessCPUTime()
              ->UseRealTime();
        }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("processor", cpu::processor_name());
  const int threads = available_processors();
  for (int n = 1; n <= threads; n = n < threads && 2 * n > threads ? threads : 2 * n) add_probes(n);
  add_products(threads);
  benchmark::RunSpecifiedBenchmarks();
}
