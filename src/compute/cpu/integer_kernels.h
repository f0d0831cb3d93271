// Products of integer packings, one table of functions per instruction set. The numerics are one for all of them, bit
// for bit, whatever the number of tokens, tested with ==:
//
// Activations x of a row are quantized per weight group: amax = max |x|, scale a = amax / 127, q = rint(x * (127 /
// amax)). A group below 2^-120 is zero; one with an infinity or NaN has scale NaN. Inside a group sums are exact
// integers: d = sum q (u - middle), or sum q u where the format has offsets. Over groups, in order, from y = 0, with
// the weights' scale s, and m = o (kMinimum) or 0 - s o (kPoint):
//   y = fma(float(d), s * a, y);   with offsets then   y = fma(m, a * float(sum q), y)
#pragma once

#include <vector>

#include "compute/cpu/integer_layout.h"

namespace updraft::compute::cpu {

// Quantized activations, group by group: what a panel's product reads together lies together.
struct IntegerActivations {
  int8_t* integers = nullptr;  // [groups][token_stride][group], a short group filled up with zeros
  float* scales = nullptr;     // [groups][token_stride]
  int32_t* sums = nullptr;     // [groups][token_stride], of integers
  int64_t token_stride = 0;    // tokens from one group to the next
  int group = 0;

  // From token t and group g on.
  IntegerActivations at(int64_t g, int64_t t) const {
    const int64_t i = g * token_stride + t;
    return {integers + i * group, scales + i, sums + i, token_stride, group};
  }
};

// Lines of weights that are read next from memory, asked for ahead, into L2.
struct LinesAhead {
  const uint8_t* pairs = nullptr;  // where a rank starts: lines 2 i and 2 i + 1 are those of pair i
  IntegerStrides strides;
  int64_t begin = 0, count = 0;

  void ask(int64_t first, int64_t end) const {
    for (int64_t i = first; i < end; ++i) __builtin_prefetch(pairs + strides.pair_at(i >> 1) + (i & 1) * 64, 0, 2);
  }
  // The n-th of `parts` shares of them, of equal size.
  void ask_share(int64_t n, int64_t parts) const {
    if (count == 0) return;
    const int64_t share = (count + parts - 1) / parts;
    ask(begin + n * share, begin + (n + 1) * share);
  }
};

// y[t][n] = (first ? 0 : y[t][n]) + some groups of one panel times `tokens` activations.
struct IntegerProduct {
  QuantizedFormat format;
  IntegerStrides strides;
  const uint8_t* headers = nullptr;  // of the panel
  const uint8_t* weights = nullptr;  // the panel's first pair
  int64_t first_group = 0, groups = 0;
  int64_t last_columns = 0;  // padded columns of the last of these groups; the others have format.group
  IntegerActivations a;      // of the first of these groups and tokens
  int tokens = 0;            // 1..tile_tokens, or 1..stream_tokens
  bool first = false;
  float* y = nullptr;        // [tokens, 32]
  bool from_memory = false;  // the weights are read once, the whole panel in one product
  // How many bytes ahead of themselves weights from memory are asked for, into L1 and, farther ahead, into L2. 0: they
  // are not; what lies in stripes is not asked for far ahead.
  int64_t near_bytes = 0, far_bytes = 0;
  LinesAhead ahead;  // spread over the product

  const uint8_t* header(int64_t g) const { return headers + (first_group + g) * strides.header; }
  const uint8_t* group(int64_t g) const { return weights + strides.group_at(first_group + g); }
};

struct IntegerKernels {
  const char* name;
  int stream_tokens;  // so many tokens take a whole panel in one product; more take turns at blocks of its columns
  // Tokens of one product where several take turns; up to 32 tokens beyond the last, activations may be read and y
  // written (not used).
  int tile_tokens;
  void (*configure)(const QuantizedFormat& format);  // before the first multiply of a thread's phase; may be null
  void (*release)();                                 // after the last
  // One row of x to token 0 of `out`.
  void (*quantize_row)(const float* x, int64_t columns, const IntegerActivations& out);
  void (*multiply)(const IntegerProduct& product);
};

// Defined where the architecture has them; calling one on a processor without the instruction set is an illegal
// instruction.
const IntegerKernels& integer_generic();     // plain loops: the definition
const IntegerKernels& integer_avx2();        // maddubs, arranged so that it cannot saturate
const IntegerKernels& integer_avxvnni();     // 256 bits, VEX-coded vpdpbusd
const IntegerKernels& integer_avx512vnni();  // 512 bits
const IntegerKernels& integer_amx();         // tiles; few tokens as integer_avx512vnni()
const IntegerKernels& integer_neon();        // widening multiplications
const IntegerKernels& integer_neondot();     // sdot

// Every table that this processor can run, integer_generic() first, the fastest last.
std::vector<const IntegerKernels*> available_integer_kernels();

}  // namespace updraft::compute::cpu
