#include "compute/cpu/integer_body.h"

namespace updraft::compute::cpu {

const IntegerKernels& integer_avxvnni() {
  static constexpr IntegerKernels kTable = avxvnni::integer_table("avxvnni");
  return kTable;
}

}  // namespace updraft::compute::cpu
