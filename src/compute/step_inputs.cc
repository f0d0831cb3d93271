#include "compute/step_inputs.h"

namespace updraft::compute {

void StepInputs::clear() {
  ids.clear();
  positions.clear();
  sequences.clear();
  rope_tables.clear();
  sequence.clear();
  page_tables.clear();
  output_rows.clear();
  rules.clear();
}

}  // namespace updraft::compute
