#include "compute/cpu/integer_body.h"

namespace updraft::compute::cpu {

const IntegerKernels& integer_neondot() {
  static constexpr IntegerKernels kTable = neondot::integer_table("neondot");
  return kTable;
}

}  // namespace updraft::compute::cpu
