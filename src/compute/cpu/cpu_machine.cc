// The CPU machine: each verb is one or a few phases of a thread team, with the kernels of the instruction set chosen
// when the machine is made. Promises the law of the house; see linear.h and attention.h for how.
#include "compute/cpu/cpu_machine.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/thread_team.h"
#include "compute/cpu/attention.h"
#include "compute/cpu/huge_memory.h"
#include "compute/cpu/instruction_set.h"
#include "compute/cpu/integer_linear.h"
#include "compute/cpu/kv_cache.h"
#include "compute/cpu/linear.h"
#include "compute/cpu/packing.h"
#include "compute/cpu/plain_read.h"
#include "compute/machine.h"
#include "compute/sampling.h"

namespace updraft::compute {
namespace cpu {
namespace {

struct CpuRows final : RowBuffer {
  HugeMemory memory;
  float* data() const { return memory.as<float>(); }
  float* row(int64_t r) const { return data() + r * columns; }
};

CpuRows& mine(const Rows& rows) {
  auto* buffer = dynamic_cast<CpuRows*>(rows.get());
  CHECK(buffer != nullptr) << "rows of another machine";
  return *buffer;
}

const PanelMatrix& mine(const Weight& weight) {
  const auto* matrix = dynamic_cast<const PanelMatrix*>(weight.get());
  CHECK(matrix != nullptr) << "a weight of another machine";
  return *matrix;
}

int terms_of(Activations activations) {
  switch (activations) {
    case Activations::kBF16x2:
      return 2;
    case Activations::kBF16x3:
      return 3;
    case Activations::kF32:
      break;
  }
  return 0;
}

// Tile instructions round activations to bf16 terms: not for --exact.
InstructionSet without_unwanted_tiles(InstructionSet set, const MachineOptions& options) {
  if (set.tiles != nullptr && options.activations == Activations::kF32) {
    set.tiles = nullptr;
    set.name = set.kernels->name;
  }
  return set;
}

class CpuMachine final : public Machine {
 public:
  CpuMachine(const InstructionSet& set, const MachineOptions& options)
      : set_(without_unwanted_tiles(set, options)),
        activations_(set_.tiles == nullptr ? Activations::kF32 : options.activations),
        team_(options.threads > 0 ? options.threads : available_processors()),
        linear_(set_, terms_of(activations_), team_),
        integer_linear_(set_, team_),
        attention_scratch_(team_.size()),
        sampling_(size_t(team_.size())) {}

  MachineInfo info() const override {
    MachineInfo info;
    info.name = "cpu";
    info.path = set_.name;
    info.activations = activations_ == Activations::kF32      ? "f32"
                       : activations_ == Activations::kBF16x2 ? "bf16x2"
                                                              : "bf16x3";
    info.other_activations = "f32";
    info.integer_activations = "int8 per row and group";
    info.packings = {Packing::kF32, Packing::kF16, Packing::kBF16, Packing::kInt8, Packing::kInt4};
    info.kv_dtypes = {KvType::kF32, KvType::kF16, KvType::kInt8};
    info.page_tokens = kPageTokens;
    info.threads = team_.size();
    info.batch_invariant = true;
    return info;
  }

  Weight pack(const MatrixSource& source, Packing packing) override {
    if (is_integer(packing)) {
      integer_linear_.reserve(0, source.columns());
      return pack_integers(source, set_.striped_bytes, *set_.kernels, arena_, team_);
    }
    const bool tiles = set_.tiles != nullptr && packing == Packing::kBF16;
    auto matrix = pack_matrix(source, packing, tiles ? PanelLayout::kPairs : PanelLayout::kRows, set_.kernels->linear,
                              arena_, team_);
    linear_.reserve(0, matrix->columns);
    return matrix;
  }

  Weight pack_vector(std::span<const float> values) override {
    auto vector = std::make_shared<CpuVector>();
    vector->values.assign(values.begin(), values.end());
    vector->rows = 1;
    vector->columns = int64_t(values.size());
    vector->bytes = int64_t(values.size_bytes());
    return vector;
  }

  Rows allocate_rows(int64_t max_rows, int64_t columns) override {
    auto rows = std::make_shared<CpuRows>();
    rows->max_rows = max_rows;
    rows->columns = columns;
    rows->memory = HugeMemory(std::max<int64_t>(max_rows * columns, 1) * int64_t(sizeof(float)), "the activations");
    linear_.reserve(max_rows, columns);
    integer_linear_.reserve(max_rows, columns);
    attention_scratch_.reserve_rows(max_rows);
    // q|k|v before rotation: k and v have no more heads than q, whose buffer was allocated too. Untouched memory is
    // free.
    if (const int64_t bytes = 3 * rows->memory.bytes(); bytes > projected_.bytes())
      projected_ = HugeMemory(bytes, "the activations");
    return rows;
  }

  KvCachePtr allocate_kv(const KvGeometry& geometry, int64_t pages) override {
    attention_scratch_.reserve(geometry, pages);
    return make_kv_cache(geometry, pages, &team_);
  }

  void tune(const Tuning& tuning) override {
    tuning_ = tuning;
    linear_.tune(tuning.chunk_rows, tuning.group_panels);
    integer_linear_.tune(tuning.chunk_rows, tuning.group_panels);
  }

  void run(StepKey key, FunctionRef<void()> body) override {
    const int asked = key.rows <= Tuning::kDecodeRows ? tuning_.decode_threads : tuning_.prefill_threads;
    team_.limit(asked > 0 ? std::min(asked, team_.size()) : team_.size());
    body();
  }
  StepStatus finish() override { return {}; }

  void read_row(const Rows& rows, int64_t row, std::span<float> out) const override {
    const CpuRows& from = mine(rows);
    CHECK(row < from.max_rows && int64_t(out.size()) == from.columns) << row << " of " << from.max_rows;
    std::copy_n(from.row(row), from.columns, out.begin());
  }

  void write_row(const Rows& rows, int64_t row, std::span<const float> in) override {
    const CpuRows& to = mine(rows);
    CHECK(row < to.max_rows && int64_t(in.size()) == to.columns) << row << " of " << to.max_rows;
    std::copy(in.begin(), in.end(), to.row(row));
  }

  double read_plainly(std::span<const Weight> weights) override {
    team_.limit(team_.size());
    std::vector<PlainRead::Bytes> pieces;
    for (const Weight& weight : weights) {
      const HugeMemory& memory = mine(weight).weights;
      pieces.emplace_back(memory.as<const char>(), size_t(memory.bytes()));
    }
    return plain_read_.pass(team_, pieces);
  }

  void embed(const StepInputs& in, const Weight& table, const Rows& x) override {
    const PanelMatrix& matrix = mine(table);
    const CpuRows& to = mine(x);
    check_rows(in.rows(), to);
    team_.parallel_for(in.rows(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const int32_t id = in.ids[size_t(r)];
        CHECK(id >= 0 && id < matrix.rows) << "token id " << id;
        matrix.read_row(id, to.row(r));
      }
    });
  }

  void project_qkv(const StepInputs& in, const Rows& x, const Norm& norm, const Weight& qkv, const AttentionSpec& spec,
                   const RopeTables& ropes, KvLayer kv, const Rows& q) override {
    const PanelMatrix& matrix = mine(qkv);
    CHECK(matrix.rows == int64_t(spec.query_heads + 2 * spec.key_value_heads) * spec.head_dim)
        << matrix.rows << " rows of q, k and v";
    CHECK(in.rows() * matrix.rows * int64_t(sizeof(float)) <= projected_.bytes()) << in.rows() << " rows";
    multiply(matrix, input(in.rows(), x, norm), {LinearEnd::kStore, projected_.as<float>(), matrix.rows});
    const HeadNorms norms{norm_weight(spec.query_norm, spec.head_dim), norm_weight(spec.key_norm, spec.head_dim),
                          spec.query_norm.epsilon, spec.key_norm.epsilon};
    finish_qkv(*set_.kernels, team_, in, projected_.as<float>(), spec, norms, ropes, kv, mine(q).data());
  }

  void attend(const StepInputs& in, const Rows& q, const AttentionSpec& spec, KvLayer kv, const Rows& out) override {
    cpu::attend(*set_.kernels, team_, attention_scratch_, in, mine(q).data(), spec, kv, mine(out).data());
  }

  void project_add(const StepInputs& in, const Rows& from, const Weight& weight, const Rows& x) override {
    multiply(mine(weight), input(in.rows(), from, {}), output(LinearEnd::kAdd, in.rows(), x));
  }

  void gated_project(const StepInputs& in, const Rows& x, const Norm& norm, const Weight& gate_up,
                     const Rows& hidden) override {
    const PanelMatrix& matrix = mine(gate_up);
    CHECK(matrix.ranges.size() == 2 && matrix.ranges[0].rows == matrix.ranges[1].rows) << "gate and up of equal size";
    multiply(matrix, input(in.rows(), x, norm), output(LinearEnd::kGated, in.rows(), hidden));
  }

  void logits(const StepInputs& in, const Rows& x, const Norm& norm, const Weight& head, const Rows& out) override {
    LinearInput from = input(int64_t(in.output_rows.size()), x, norm);
    from.indices = in.output_rows.data();
    multiply(mine(head), from, output(LinearEnd::kStore, from.rows, out));
  }

  void sample(const StepInputs& in, const Rows& logits, Samples& out) override {
    const CpuRows& from = mine(logits);
    out.resize(in.rules.size());
    team_.parallel_for(int64_t(in.rules.size()), 1, [&](int64_t begin, int64_t end, int member) {
      for (int64_t i = begin; i < end; ++i)
        choose({from.row(i), size_t(from.columns)}, in.rules[size_t(i)], sampling_[size_t(member)], out[size_t(i)]);
    });
  }

 private:
  static void check_rows(int64_t rows, const CpuRows& buffer) {
    CHECK(rows <= buffer.max_rows) << rows << " rows in a buffer of " << buffer.max_rows;
  }

  void multiply(const PanelMatrix& w, const LinearInput& in, const LinearOutput& out) {
    if (is_integer(w.packing)) {
      integer_linear_.multiply(static_cast<const IntegerMatrix&>(w), in, out);
    } else {
      linear_.multiply(static_cast<const CpuMatrix&>(w), in, out);
    }
  }

  static LinearInput input(int64_t rows, const Rows& x, const Norm& norm) {
    const CpuRows& from = mine(x);
    LinearInput in;
    in.x = from.data();
    in.stride = from.columns;
    in.rows = rows;
    in.norm_weight = norm_weight(norm, from.columns);
    in.norm_epsilon = norm.epsilon;
    return in;
  }

  static const float* norm_weight(const Norm& norm, int64_t columns) {
    if (norm.weight == nullptr) return nullptr;
    const auto* vector = dynamic_cast<const CpuVector*>(norm.weight.get());
    CHECK(vector != nullptr && vector->columns == columns) << "a norm for " << columns;
    return vector->values.data();
  }

  static LinearOutput output(LinearEnd end, int64_t rows, const Rows& out) {
    const CpuRows& to = mine(out);
    check_rows(rows, to);
    return {end, to.data(), to.columns};
  }

  InstructionSet set_;
  Activations activations_;
  Tuning tuning_;
  ThreadTeam team_;
  Linear linear_;
  IntegerLinear integer_linear_;
  AttentionScratch attention_scratch_;
  HugeArena arena_;       // the weights
  HugeMemory projected_;  // [rows, q|k|v]
  PlainRead plain_read_;
  std::vector<SamplingScratch> sampling_;
};

}  // namespace

std::unique_ptr<Machine> make_cpu_on(const InstructionSet& set, const MachineOptions& options) {
  return std::make_unique<CpuMachine>(set, options);
}

}  // namespace cpu

std::unique_ptr<Machine> make_cpu(const MachineOptions& options) {
  return cpu::make_cpu_on(cpu::choose_instruction_set(options.instruction_set), options);
}

}  // namespace updraft::compute
