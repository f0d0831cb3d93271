// Calibration: rounds a checkpoint's matrices by what they do on a text (error feedback, see
// checkpoint/error_feedback.h). The text goes through the model layer by layer, on a machine, with the layers before
// already rounded, so that each layer sees and makes up for what the earlier ones have lost. One layer's weights and
// the hidden states of the text are in memory, never the model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "checkpoint/quantize_folder.h"
#include "compute/machine.h"

namespace updraft::session {

// ids: the text's; they are computed in windows of `window` tokens, BOS (where there is a `prefix`) before each.
// Borrows the checkpoint. `tell` hears what fraction of the whole calibration is done, at least after each verb of a
// window and each piece of a matrix; what it throws ends the work and is prepare()'s. threads 0: every processor this
// process may use, besides the machine's own. Throws Error when the text is too short or a weight is not finite.
std::unique_ptr<checkpoint::MatrixQuantizer> make_calibrated_quantizer(
    const checkpoint::Checkpoint&, std::vector<checkpoint::QuantizedMatrix> plan, std::unique_ptr<compute::Machine>,
    const std::vector<int32_t>& prefix, const std::vector<int32_t>& ids, int64_t window, int threads,
    std::function<void(double fraction)> tell);

}  // namespace updraft::session
