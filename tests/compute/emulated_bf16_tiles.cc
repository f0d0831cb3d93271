// The kernels of kernels_amx.cc on tiles in plain loops (emulated_tiles.h says for whom).
#if defined(__AVX512VNNI__)

#include "tests/compute/tile_emulation.h"

#define kernels_amx kernels_amx_with_emulated_tiles
#include "compute/cpu/kernels_amx.cc"
#undef kernels_amx

namespace updraft::test {
const compute::cpu::TileKernels* kernels_amx_with_emulated_tiles() {
  return &compute::cpu::kernels_amx_with_emulated_tiles();
}
}  // namespace updraft::test

#else

namespace updraft::compute::cpu {
struct TileKernels;
}
namespace updraft::test {
const compute::cpu::TileKernels* kernels_amx_with_emulated_tiles() { return nullptr; }
}  // namespace updraft::test

#endif
