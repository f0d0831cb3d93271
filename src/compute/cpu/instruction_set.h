// Which kernels this process uses, decided once at run time from cpuid, what the kernel lets a process save (XCR0) and,
// for tiles, what it grants on request; never from the machine that built the program.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "compute/cpu/integer_kernels.h"
#include "compute/cpu/kernels.h"

namespace updraft::compute::cpu {

struct InstructionSet {
  std::string name;  // "avx2", "avx512", "avx512+amx", "neon": part of the numerics key
  const Kernels* kernels = nullptr;
  const TileKernels* tiles = nullptr;  // null: no tile instructions
  const IntegerKernels* integers = nullptr;
  // Weights from memory are asked for ahead where a line of them takes at least so many vector products; where it takes
  // fewer, what the processor fetches by itself is better left alone (prefetch_distance.h).
  int products_to_ask_ahead = 0;
  // Integers of matrices that take so many bytes lie in stripes (integer_layout.h), others in order.
  int64_t striped_bytes = std::numeric_limits<int64_t>::max();
};

// Every set this process can run, slowest first; all but tile sets give the same bits. Empty on a processor too old.
std::vector<InstructionSet> available_instruction_sets();

// The best one, or the one called `name`. Throws Error saying what this processor has when that is not among them.
InstructionSet choose_instruction_set(const std::string& name);

// "Intel(R) Xeon(R) ..."; what the system calls this processor.
std::string processor_name();

}  // namespace updraft::compute::cpu
