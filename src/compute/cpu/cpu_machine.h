// The CPU machine on an instruction set that the caller brings, as tests do; make_cpu (machine.h) chooses one by its
// name.
#pragma once

#include <memory>

#include "compute/cpu/instruction_set.h"
#include "compute/machine.h"

namespace updraft::compute::cpu {

// options.instruction_set is not looked at.
std::unique_ptr<Machine> make_cpu_on(const InstructionSet& set, const MachineOptions& options);

}  // namespace updraft::compute::cpu
