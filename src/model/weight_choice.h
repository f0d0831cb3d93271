// WeightChoice: what --dtype says of a model's matrices: kept as stored, as one 16- or 32-bit type, or as integers of
// one format; and what that means for each matrix. The one parser, the one printer.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "compute/weight.h"

namespace updraft::model {

// At most one is set; none: auto, as stored.
struct WeightChoice {
  std::optional<DType> dtype = {};
  std::optional<QuantizedFormat> format = {};

  bool operator==(const WeightChoice&) const = default;
};

// "auto", "f32", "f16", "bf16", "int8", "int8-g32", "int4", "int4-g32", each integer also with "-asym"; null for
// anything else.
std::optional<WeightChoice> parse_weight_choice(std::string_view text);
std::string name(const WeightChoice& choice);
extern const char* const kWeightChoices;  // all of them, for messages and help

// Which of a decoder's matrices. The head decides the most for its size: it has 8 bits at least, unless stored with
// fewer. A tied table is a head. An embedding of its own is read one row a token: integers would save nothing there.
enum class MatrixRole : uint8_t { kLayer, kHead, kEmbedding };

// How one matrix is kept in memory.
struct Kept {
  compute::Packing packing = compute::Packing::kF32;
  QuantizedFormat format;  // of an integer packing

  double bits_per_weight() const;
  DType dtype() const;  // of a packing that is not one of integers
};
std::string name(const Kept& kept);

// `parts`: what is known of the matrix's parts as stored. `natural`: the checkpoint's type where they are no integers.
Kept choose_packing(const WeightChoice& choice, MatrixRole role, DType natural,
                    std::span<const std::optional<checkpoint::StoredIntegers>> parts);

}  // namespace updraft::model
