// The registry: which machines there are. Each name's maker is defined in that machine's folder.
#include <fmt/ranges.h>

#include "base/error.h"
#include "compute/machine.h"

namespace updraft::compute {

std::vector<std::string> machine_names() { return {"cpu", "reference"}; }

std::unique_ptr<Machine> make_machine(const std::string& device, const MachineOptions& options) {
  if (device == "cpu") return make_cpu(options);
  if (device == "reference") return make_reference();
  fail("--device {}: there is no such machine; this build knows {}", device, fmt::join(machine_names(), ", "));
}

}  // namespace updraft::compute
