// Tuning: settings that trade time only. By the law of the house no value of any field changes a bit of a result; the
// defaults are good everywhere, and `updraft tune` finds what is better on one machine for one shape of model.
#pragma once

#include <cstdint>

namespace updraft::compute {

struct Tuning {
  // Steps of at most this many rows count as decoding.
  static constexpr int64_t kDecodeRows = 16;

  int decode_threads = 0;    // 0: all that the machine was made with
  int prefill_threads = 0;   // 0: all
  int64_t chunk_rows = 256;  // rows that pass over the weights together, at most; 1 to 256
  int group_panels = 8;     // panels of weights multiplied together, so that activations are read once for all; 2, 4, 8
  int64_t step_rows = 512;  // rows of the engine's steps: the piece in which a prompt is computed
  // Time of a step of 1 + n rows beside one of one row, 1 + step_cost + n row_cost: how much speculation may propose.
  double step_cost = 0.05;
  double row_cost = 0.06;
  bool operator==(const Tuning&) const = default;
};

}  // namespace updraft::compute
