// The kernels of integer_amx.cc on tiles in plain loops (emulated_tiles.h says for whom).
#if defined(__AVX512VNNI__)

#include "tests/compute/tile_emulation.h"

#define integer_amx integer_amx_with_emulated_tiles
#include "compute/cpu/integer_amx.cc"
#undef integer_amx

namespace updraft::test {
const compute::cpu::IntegerKernels* integer_amx_with_emulated_tiles() {
  return &compute::cpu::integer_amx_with_emulated_tiles();
}
}  // namespace updraft::test

#else

namespace updraft::compute::cpu {
struct IntegerKernels;
}
namespace updraft::test {
const compute::cpu::IntegerKernels* integer_amx_with_emulated_tiles() { return nullptr; }
}  // namespace updraft::test

#endif
