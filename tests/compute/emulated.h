// Architectures other than x86-64 run these tests under emulation, some thirty times slower.
#pragma once

namespace updraft::compute::cpu {

#if defined(__x86_64__)
constexpr bool kEmulated = false;
#else
constexpr bool kEmulated = true;
#endif

}  // namespace updraft::compute::cpu
