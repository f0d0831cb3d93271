#include "compute/cpu/integer_body.h"

namespace updraft::compute::cpu {

const IntegerKernels& integer_neon() {
  static constexpr IntegerKernels kTable = neon::integer_table("neon");
  return kTable;
}

}  // namespace updraft::compute::cpu
