#include "compute/cpu/integer_body.h"

namespace updraft::compute::cpu {

const IntegerKernels& integer_avx512vnni() {
  static constexpr IntegerKernels kTable = avx512vnni::integer_table("avx512vnni");
  return kTable;
}

}  // namespace updraft::compute::cpu
