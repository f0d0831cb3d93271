// ErrorFeedback: rounds a matrix so that its outputs, not its weights, stay near: the columns are rounded one after
// another, and what each rounding does to the outputs is taken back by the columns that are still to come. How inputs
// go together is known from H, the sum of x x^T over inputs of a calibration text. Each group's scale is chosen from
// the weights as they are when its turn comes, among several, by the error weighted with the inputs' power.
// Source: Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers (2022).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/quantized_rows.h"
#include "base/thread_team.h"

namespace updraft::checkpoint {

class ErrorFeedback {
 public:
  // hessian: [columns, columns], symmetric. A small multiple of its mean diagonal is added to the diagonal. `tell`
  // hears now and then what fraction is done; what it throws ends the work.
  ErrorFeedback(std::vector<float> hessian, int64_t columns, ThreadTeam& team,
                const std::function<void(double fraction)>& tell = {});

  // weights: [rows, columns], overwritten with working values. Thread-safe.
  void quantize(float* weights, int64_t rows, const QuantizedFormat& format, const QuantizedRows& out) const;

 private:
  void choose_scale(const float* row, int64_t begin, int64_t end, const QuantizedFormat& format, uint16_t* scale,
                    uint16_t* offset) const;

  int64_t columns_;
  std::vector<float> power_;  // [columns] the diagonal of H
  std::vector<float>
      feedback_;  // [columns, columns], U with (H + damping)^-1 = U^T U: row j right of its diagonal, / U_jj
};

}  // namespace updraft::checkpoint
