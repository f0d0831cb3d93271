// AMX wherever there is AVX-512 with VNNI: the same kernels on tiles in plain loops (tile_emulation.h).
#pragma once

#include <string>
#include <vector>

#include "compute/cpu/instruction_set.h"

namespace updraft::test {

// Null where this build has not the rest of what they need.
const compute::cpu::TileKernels* kernels_amx_with_emulated_tiles();
const compute::cpu::IntegerKernels* integer_amx_with_emulated_tiles();

// One set or none. Its numbers are those of "avx512+amx".
inline std::vector<compute::cpu::InstructionSet> emulated_tile_sets() {
  std::vector<compute::cpu::InstructionSet> result;
  for (compute::cpu::InstructionSet set : compute::cpu::available_instruction_sets()) {
    if (set.name != "avx512" || set.integers->name != std::string("avx512vnni")) continue;
    set.name = "avx512+emulated tiles";
    set.tiles = kernels_amx_with_emulated_tiles();
    set.integers = integer_amx_with_emulated_tiles();
    set.striped_bytes = 0;  // so that whole machines are tested with small matrices in stripes, too
    if (set.tiles != nullptr) result.push_back(set);
  }
  return result;
}

// What this processor can run, and that.
inline std::vector<compute::cpu::InstructionSet> tested_instruction_sets() {
  std::vector<compute::cpu::InstructionSet> sets = compute::cpu::available_instruction_sets();
  for (const compute::cpu::InstructionSet& set : emulated_tile_sets()) sets.push_back(set);
  return sets;
}

}  // namespace updraft::test
