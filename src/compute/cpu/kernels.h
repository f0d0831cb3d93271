// Kernels: what one instruction set can do, as plain tables of functions. Each kernels_<isa>.cc fills one from the same
// bodies (linear_body.h, attention_body.h, written in Lanes), so all tables give the same bits. Which table a process
// uses is decided at run time by instruction_set.h.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "base/half.h"
#include "base/quantized_rows.h"
#include "compute/cpu/attention_kernels.h"
#include "compute/cpu/integer_layout.h"

namespace updraft::compute::cpu {

// Output rows of one panel of packed weights: element [panel][k][row in panel].
constexpr int kPanelRows = 32;
// Products are summed in chains of kBlock fused multiply-adds over k, and the chains' sums are added in order: part of
// the numerics, the same for every instruction set, packing and number of rows. 256 F32 rows of a panel are 32 KiB:
// they fit L1.
constexpr int kBlock = 256;
constexpr int kMaxTileTokens = 12;

// y[panel][tokens, 32] = (first ? 0 : y) + panel[columns, 32]^T x[columns, tokens], for some panels.
struct StreamProduct {
  const void* const* panels = nullptr;  // [count] where each begins
  int count = 0;
  int64_t columns = 0;  // all of the panel, or a multiple of kBlock
  const float* x = nullptr;
  int tokens = 0;
  bool first = true;
  bool from_memory = true;  // else from a cache
  bool ask_ahead = true;    // from memory: asks for what follows in each panel, else the processor fetches it by itself
  float* y = nullptr;
  int64_t y_stride = 0;  // floats from one panel's sums to the next one's
};

// Activations of up to tile_tokens rows, side by side: element [k][token of `tokens`].
struct LinearKernels {
  int tile_tokens;  // most rows of one tile: 12 with 32 registers of 16 floats, else 6

  // y[t][n] = (first ? 0 : y[t][n]) + sum over k < block of w[k][n] x[k][t]: one chain.   w [block, 32], x [block,
  // tokens], y [tokens, 32]
  void (*tile)(const float* w, int64_t block, const float* x, int tokens, bool first, float* y);
  // The same for panels of `type` as stored, block after block; stream_panels(tokens) of them side by side.
  void (*stream)(DType type, const StreamProduct& product);
  int (*stream_panels)(int tokens);  // 1, 2 or 4

  // out[i] = in[i], rounded to nearest even where out is narrower.
  void (*convert)(DType from, const void* in, DType to, void* out, int64_t count);

  // Panels as packing.h has them, from 32 rows as read, row-major without gaps: kRows of 2 and of 4 bytes, and kPairs,
  // which also writes the zeros of its padding. `to` is at a multiple of 64 bytes.
  void (*pack_rows16)(const uint16_t* from, int64_t columns, uint16_t* to);
  void (*pack_rows32)(const uint32_t* from, int64_t columns, uint32_t* to);
  void (*pack_pairs)(const uint16_t* from, int64_t columns, uint16_t* to);
  // The weights of one group as integer_layout.h has them, from 32 rows of integers, a byte each, row_bytes apart;
  // `columns` is a multiple of the step. Of every row 64 bytes are read from a step's first on, however wide it is.
  void (*pack_integers)(const uint8_t* from, int64_t row_bytes, int64_t columns, const QuantizedFormat& format,
                        const IntegerStrides& strides, uint8_t* to);

  // out = RMSNorm(x) with weight [columns], or a copy of x when weight is null.
  void (*norm_row)(const float* x, const float* weight, float epsilon, int64_t columns, float* out);
  // The bf16 terms of x: x1 = bf16(x), x2 = bf16(x - x1), ...; term t goes to out + t * stride, zero-padded to
  // padded_columns in pieces of 32 columns that lie piece_stride elements apart.
  void (*split_row)(const float* x, int64_t columns, int64_t padded_columns, int terms, int64_t stride,
                    int64_t piece_stride, bfloat16_t* out);

  // Ends of a product, for the `count` valid rows of one panel (bias may be null), over `tokens` rows of y [tokens,
  // 32]: out = y + bias;   out += y + bias;   out = silu(gate + gate_bias) * (up + up_bias)
  void (*store)(const float* y, int64_t tokens, int count, const float* bias, float* out, int64_t stride);
  void (*add)(const float* y, int64_t tokens, int count, const float* bias, float* out, int64_t stride);
  void (*gated)(const float* gate, const float* up, int64_t tokens, int count, const float* gate_bias,
                const float* up_bias, float* out, int64_t stride);
};

// One block of columns of one panel times one or two tiles of activations: y = (first ? 0 : y) + ...
struct TileProduct {
  const bfloat16_t* w = nullptr;  // [block / 32][2 halves of the panel][16 pairs of k, 16 rows, 2]
  int64_t block = 0;              // columns, a multiple of 32
  const bfloat16_t* a = nullptr;  // [block / 32][2 tiles][terms][16, 32]; a_step elements from 32 columns to the next
  int64_t a_step = 0;
  int tiles = 1;  // 1 or 2
  bool first = false;
  float* y = nullptr;  // [tiles][16 tokens][32]
  // Asked for ahead into L2, spread over the block's steps: what comes after this block of columns.
  const char* later_w = nullptr;
  const char* later_a = nullptr;
  int64_t later_w_lines = 0, later_a_lines = 0;
};

// Products on tile registers (AMX), for bf16 weights in pairs (PanelLayout::kPairs). A tile of activations is one bf16
// term of 16 tokens, 32 columns. An output is one chain over k, through memory between blocks, in each step of 32
// columns term after term: the same sum whatever else is in the tile.
struct TileKernels {
  // Between configure and release the calling thread may multiply. `rows`: used rows of every tile of activations and
  // sums, 1..16.
  void (*configure)(int rows);
  void (*release)();
  void (*multiply)(const TileProduct& product, int terms);
};

// Element by element: the functions of vector_math.h, for tests and benchmarks.
struct VectorKernels {
  void (*exp)(const float* x, int64_t count, float* out);
  void (*silu)(const float* x, int64_t count, float* out);
  float (*dot)(const float* a, const float* b, int64_t count);
};

struct Kernels {
  const char* name;  // "avx2", "avx512", "neon"
  VectorKernels vector;
  LinearKernels linear;
  AttentionKernels attention;
  // The same integers, scales and offsets as base's quantize_row gives, for a row of any type.
  void (*quantize_weights)(DType type, const void* weights, int64_t columns, const QuantizedFormat& format,
                           uint8_t* integers, uint16_t* scales, uint16_t* offsets);
};

// Defined where the architecture has them; calling one on a processor without the instruction set is an illegal
// instruction.
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const AttentionKernels& attention_avx512vnni();  // the same bits in fewer instructions
const Kernels& kernels_neon();
const TileKernels& kernels_amx();

// Every table this processor can run, slowest first: all give the same bits.
std::vector<const Kernels*> available_kernels();

}  // namespace updraft::compute::cpu
