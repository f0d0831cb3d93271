// Machine: the seam between the model and the hardware. A decoder layer is five verbs, a step is a sequence of verbs
// over one batch of rows. Every machine promises the law of the house (DESIGN.md): a row's results do not depend, in a
// single bit, on the other rows of the step, on how a prompt was cut into steps, on thread counts or on where its pages
// lie.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/function_ref.h"
#include "base/progress.h"
#include "compute/kv_geometry.h"
#include "compute/rope_tables.h"
#include "compute/step_inputs.h"
#include "compute/tuning.h"
#include "compute/weight.h"

namespace updraft::compute {

// How activations enter a product with 16-bit weights. kF32: fused multiply-adds on F32 activations ("--exact").
// kBF16x2: each activation as the sum of two bf16 terms, for tile instructions with BF16 weights.
enum class Activations : uint8_t { kF32, kBF16x2, kBF16x3 };

struct MachineInfo {
  std::string name;                 // "cpu", "reference"
  std::string path;                 // instruction set in use: "avx512", "avx512+amx", "neon", "double"
  std::string activations;          // beside BF16 weights: "f32", "bf16x2", "bf16x3"
  std::string other_activations;    // beside F32 and F16 weights: "f32" ("f64" on the reference)
  std::string integer_activations;  // beside integer weights: "int8 per row and group"
  std::vector<Packing> packings;
  std::vector<KvType> kv_dtypes;
  int64_t page_tokens = 0;  // kPageTokens of this machine
  int threads = 1;
  bool batch_invariant = false;  // the contract tests prove it
};

// What enters products with weights in this packing: part of the numerics key, printed in every report.
inline const std::string& activations(const MachineInfo& info, Packing packing) {
  if (is_integer(packing)) return info.integer_activations;
  return packing == Packing::kBF16 ? info.activations : info.other_activations;
}

struct AttentionSpec {
  int query_heads = 0;
  int key_value_heads = 0;
  int head_dim = 0;
  float scale = 0;  // 1 / sqrt(head_dim) for every model so far
  int window = 0;   // a row sees positions (position - window, position]; 0: all before it
  Norm query_norm;  // per head, before RoPE; null weight: none (Qwen3 has both)
  Norm key_norm;
};

// Activations [max_rows, columns] F32 in the machine's memory.
class RowBuffer {
 public:
  virtual ~RowBuffer() = default;
  int64_t max_rows = 0;
  int64_t columns = 0;
};
using Rows = std::shared_ptr<RowBuffer>;

struct StepStatus {
  bool ok = true;
  std::string error;  // one sentence when a device was lost
};

class Machine {
 public:
  virtual ~Machine() = default;
  virtual MachineInfo info() const = 0;

  // While opening; may throw Error (out of memory, unsupported packing). pack reads the source once, in parallel, and
  // never holds a second copy; `progress` counts the bytes of the source.
  virtual Weight pack(const MatrixSource&, Packing) = 0;
  virtual Weight pack_vector(std::span<const float> values) = 0;
  virtual Rows allocate_rows(int64_t max_rows, int64_t columns) = 0;
  virtual KvCachePtr allocate_kv(const KvGeometry&, int64_t pages) = 0;

  // Settings that change the time of steps, and no bit. Between two steps; a machine without such settings ignores it.
  virtual void tune(const Tuning&) {}

  // Runs the body's verbs; may record them once per key (not a watched one) and replay. Verbs neither allocate nor
  // throw.
  virtual void run(StepKey, FunctionRef<void()> body) = 0;
  // Waits for the step; afterwards samples and rows are readable.
  virtual StepStatus finish() = 0;
  // Copies row `row` [columns] to the host, after finish().
  virtual void read_row(const Rows&, int64_t row, std::span<float> out) const = 0;
  virtual void write_row(const Rows&, int64_t row, std::span<const float> in) = 0;  // for tests and calibration
  // For measuring, between two steps: reads these weights and does nothing with them, as fast as this machine can, and
  // returns bytes per second. A step that reads them from memory can do no better at that moment. 0: not measured here.
  virtual double read_plainly(std::span<const Weight>) { return 0; }

  // x[r] = table[ids[r]]                                                         x [rows, hidden]
  virtual void embed(const StepInputs&, const Weight& table, const Rows& x) = 0;
  // q|k|v = norm(x) W^T + b; q and k heads normed if the spec says so, then rotated; k, v stored in `kv`, rounded to
  // its dtype; q stays F32                                                           q [rows, query_heads * head_dim]
  virtual void project_qkv(const StepInputs&, const Rows& x, const Norm&, const Weight& qkv, const AttentionSpec&,
                           const RopeTables&, KvLayer, const Rows& q) = 0;
  // out[r] = softmax(scale q K^T) V over the positions r may see, per head       out [rows, query_heads * head_dim]
  virtual void attend(const StepInputs&, const Rows& q, const AttentionSpec&, KvLayer, const Rows& out) = 0;
  // x += in W^T + b
  virtual void project_add(const StepInputs&, const Rows& in, const Weight&, const Rows& x) = 0;
  // hidden = silu(g) * u, where g|u = norm(x) W^T + b and W stacks gate and up   hidden [rows, intermediate]
  virtual void gated_project(const StepInputs&, const Rows& x, const Norm&, const Weight& gate_up,
                             const Rows& hidden) = 0;
  // out[i] = norm(x[output_rows[i]]) W^T                                         out [output rows, vocabulary]
  virtual void logits(const StepInputs&, const Rows& x, const Norm&, const Weight& head, const Rows& out) = 0;
  // samples[i] = choose(rules[i], logits[i]); readable after finish()
  virtual void sample(const StepInputs&, const Rows& logits, Samples& out) = 0;
};

struct MachineOptions {
  int threads = 0;                                 // 0: every processor this process may use
  Activations activations = Activations::kBF16x2;  // where tiles and BF16 weights are; kF32 elsewhere whatever is asked
  std::string instruction_set;  // "" = the best this processor and kernel grant; "avx2", "avx512", ...
};

// Each is defined in its machine's folder; one whose hardware or library is missing throws Error saying so.
std::unique_ptr<Machine> make_reference();
std::unique_ptr<Machine> make_cpu(const MachineOptions&);

// By the name users give to --device: "cpu", "reference". Throws Error for another name, listing the known ones.
std::unique_ptr<Machine> make_machine(const std::string& device, const MachineOptions&);
std::vector<std::string> machine_names();

}  // namespace updraft::compute
