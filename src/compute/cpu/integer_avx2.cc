#include "compute/cpu/integer_body.h"

namespace updraft::compute::cpu {

const IntegerKernels& integer_avx2() {
  static constexpr IntegerKernels kTable = avx2::integer_table("avx2");
  return kTable;
}

}  // namespace updraft::compute::cpu
